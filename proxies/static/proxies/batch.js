/* Keeps a batch's page up to date: asks for its figures every two seconds, while somebody looks at it. */
"use strict";

{
    const INTERVAL = 2000;
    const live = document.getElementById("np-live");
    const buttons = document.getElementById("np-buttons");
    const said = document.getElementById("np-said");
    const lost = document.getElementById("np-lost");
    let changes = buttons.dataset.changes;
    let announced = "";

    function show(answer) {
        live.innerHTML = answer.live;
        // The buttons stay as they are while they do: somebody may be writing a reason between them.
        const now = answer.changes.join();
        if (now !== changes) {
            buttons.innerHTML = answer.buttons;
        }
        changes = now;
        announce(answer);
    }

    /* For screen readers: what the server says only as often as it changes, not every figure. */
    function announce(answer) {
        if (answer.announcement !== announced) {
            said.textContent = answer.announcement;
            announced = answer.announcement;
        }
    }

    async function ask() {
        if (!document.hidden) {
            try {
                const response = await fetch(live.dataset.url, {headers: {Accept: "application/json"}});
                if (!response.ok || response.redirected) {
                    throw new Error(String(response.status));
                }
                const answer = await response.json();
                show(answer);
                lost.hidden = true;
                if (!answer.is_open) {
                    return;
                }
            } catch {
                lost.hidden = false;
            }
        }
        setTimeout(ask, INTERVAL);
    }

    if ("open" in live.dataset) {
        setTimeout(ask, INTERVAL);
    }
}
