/* Plans again as soon as an option is changed, and starts a batch once, however often the button is pressed. */
"use strict";

{
    const options = document.getElementById("np-options-form");
    const start = document.getElementById("np-start");

    options?.addEventListener("change", () => {
        // The click that ends the writing in a field may be one on "Start", of a plan that is out of date.
        for (const button of start.querySelectorAll("button")) {
            button.disabled = true;
        }
        options.requestSubmit();
    });
    start.addEventListener("submit", () => {
        start.querySelector("button").disabled = true;
    });
    // A page that comes back from the browser's memory may be used again.
    window.addEventListener("pageshow", () => {
        for (const button of start.querySelectorAll("button")) {
            button.disabled = false;
        }
    });
}
