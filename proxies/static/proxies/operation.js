/* Plans again as soon as an option is changed, and starts a batch once, however often the button is pressed. */
"use strict";

{
    const options = document.getElementById("np-options-form");
    const start = document.getElementById("np-start");

    const enable = (isEnabled) => {
        for (const button of start.querySelectorAll("button")) {
            button.disabled = !isEnabled;
        }
    };
    const planAgain = () => {
        // The click that ends the writing in a field may be one on "Start", of a plan that is out of date.
        enable(false);
        options.requestSubmit();
    };
    const isChanged = (field) => {
        if (field.type === "checkbox") {
            return field.checked !== field.defaultChecked;
        }
        if (field.options) {
            const given = [...field.options].findIndex((option) => option.defaultSelected);
            return field.selectedIndex !== Math.max(0, given);
        }
        return "defaultValue" in field && field.value !== field.defaultValue;
    };

    options?.addEventListener("change", planAgain);
    start.addEventListener("submit", () => {
        start.querySelector("button").disabled = true;
    });
    window.addEventListener("pageshow", (event) => {
        if (event.persisted) {
            // Back from the browser's memory: the options are those of the plan that is shown.
            options?.reset();
        } else if (options && [...options.elements].some(isChanged)) {
            // Somebody was quicker than this script.
            planAgain();
            return;
        }
        enable(true);
    });
}
