// The rule builder in a form's field: it stands before the textarea that holds the JSON.

import { Builder } from "./conditions.js";
import { h, readData, showFaults } from "./dom.js";

const PAUSE_MILLISECONDS = 300;

for (const area of document.querySelectorAll("textarea[data-conditions]")) {
    const known = readData(`${area.id}-known`);
    const element = h("div", { class: "flags-builder" });
    const told = h("p", { class: "flags-problem", "aria-live": "polite" });
    let waiting;
    const check = () => {
        clearTimeout(waiting);
        waiting = setTimeout(async () => {
            const body = new FormData(area.form);
            const response = await fetch(area.dataset.conditions, { method: "POST", body });
            if (response.ok) showFaults(element, (await response.json()).faults);
        }, PAUSE_MILLISECONDS);
    };
    const read = () => {
        try {
            told.textContent = "";
            return JSON.parse(area.value || "{}") ?? {};
        } catch (error) {
            told.textContent = `The JSON cannot be read: ${error.message}`;
            return undefined;
        }
    };
    const builder = new Builder(element, known, read() ?? {}, "conditions", (document) => {
        area.value = JSON.stringify(document, null, 2);
        check();
    });
    const toggle = h("button", {
        type: "button", class: "flags-button", onclick: () => {
            area.hidden = !area.hidden;
            toggle.textContent = area.hidden ? "Show JSON" : "Hide JSON";
        },
    }, "Show JSON");
    area.hidden = told.textContent === "";
    area.before(element, told, h("div", { class: "flags-line" }, toggle));
    area.addEventListener("input", () => {
        const document = read();
        if (document !== undefined) builder.show(document);
        check();
    });
    area.form.addEventListener("submit", (event) => {
        if (!builder.faulty() && !told.textContent) return;
        event.preventDefault();
        (element.querySelector(".flags-problem:not(:empty)") ?? told).scrollIntoView({ block: "center" });
    });
    check();
}

// Members of a segment: find a line among thousands.
for (const search of document.querySelectorAll("input[data-finds]")) {
    const area = document.getElementById(search.dataset.finds);
    const told = search.nextElementSibling;
    search.addEventListener("input", () => {
        const lines = area.value.split("\n");
        const wanted = search.value.trim().toLowerCase();
        const found = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : [];
        told.textContent = wanted ? `${found.length} of ${lines.filter(Boolean).length} lines${found.length ? `: ${found.slice(0, 5).join(", ")}` : ""}` : "";
        const start = found.length ? area.value.indexOf(found[0]) : 0;
        area.setSelectionRange(start, start + (found[0]?.length ?? 0));
        const height = area.scrollHeight / Math.max(1, lines.length);
        area.scrollTop = height * Math.max(0, lines.indexOf(found[0]) - 1);
    });
}
