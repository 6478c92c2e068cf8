// What htmx does not do by itself: the list of airports under a field, and where the focus goes.
// Without this file, and without htmx, every page works all the same.
"use strict";

(function () {
    const status = document.getElementById("status");
    const notice = document.getElementById("notice");
    const narrow = window.matchMedia("(max-width: 39.99rem)");

    function tell(text) {
        if (text) status.textContent = text;
    }

    // What everybody has to see, and not only who listens.
    function warn(text) {
        notice.textContent = text;
        notice.hidden = !text;
    }

    // A field with suggestions, as the ARIA practices describe a combobox with a listbox.
    function combobox(field) {
        const input = field.querySelector("input");
        const list = field.querySelector(".options");
        let current = -1;
        input.setAttribute("role", "combobox");
        input.setAttribute("aria-autocomplete", "list");
        input.setAttribute("aria-expanded", "false");
        input.setAttribute("aria-controls", list.id);
        list.setAttribute("role", "listbox");

        const options = () => Array.from(list.querySelectorAll("[role=option]"));

        function close() {
            list.hidden = true;
            current = -1;
            input.setAttribute("aria-expanded", "false");
            input.removeAttribute("aria-activedescendant");
        }

        function mark(position) {
            const all = options();
            current = (position + all.length) % all.length;
            all.forEach((option, at) => option.setAttribute("aria-selected", String(at === current)));
            input.setAttribute("aria-activedescendant", all[current].id);
            all[current].scrollIntoView({ block: "nearest" });
        }

        function choose(option) {
            input.value = option.dataset.value;
            input.removeAttribute("aria-invalid");
            close();
        }

        list.addEventListener("htmx:afterSwap", () => {
            // The answer may come after the traveller went on.
            if (document.activeElement !== input || !list.children.length) {
                close();
                return;
            }
            current = -1;
            list.hidden = false;
            input.setAttribute("aria-expanded", "true");
            input.removeAttribute("aria-activedescendant");
            const count = options().length;
            tell(count === 1 ? "1 airport" : count + " airports");
        });
        input.addEventListener("keydown", (event) => {
            const open = !list.hidden && options().length > 0;
            if (event.key === "ArrowDown" && open) mark(current + 1);
            else if (event.key === "ArrowUp" && open) mark(current < 0 ? -1 : current - 1);
            else if (event.key === "Enter" && open && current >= 0) choose(options()[current]);
            else if (event.key === "Escape" && !list.hidden) close();
            else return;
            event.preventDefault();
        });
        // Before the click takes the focus away from the field.
        list.addEventListener("mousedown", (event) => event.preventDefault());
        list.addEventListener("click", (event) => {
            const option = event.target.closest("[role=option]");
            if (option) choose(option);
        });
        input.addEventListener("blur", () => {
            // Who typed and went on without choosing means the likeliest.
            if (current >= 0 && !list.hidden) choose(options()[current]);
            else close();
        });
    }

    function furnish() {
        each("[data-combobox]", combobox);
        // The days before and after the one asked for are to be seen alike.
        each(".days [aria-current]", (day) => {
            const days = day.closest("ul");
            days.scrollLeft = day.offsetLeft + (day.offsetWidth - days.clientWidth) / 2;
        });
        // On a phone what was found comes first.
        each(".again", (again) => {
            if (narrow.matches && !again.querySelector("#faults")) again.open = false;
        });
    }

    // Furnishes what is new on the page.
    function each(selector, work) {
        document.querySelectorAll(selector).forEach((element) => {
            if (element.dataset.furnished) return;
            element.dataset.furnished = "yes";
            work(element);
        });
    }

    document.addEventListener("htmx:afterSettle", (event) => {
        const target = event.detail.target;
        if (target && target.classList && target.classList.contains("options")) return;
        furnish();
        const by = event.detail.requestConfig && event.detail.requestConfig.triggeringEvent;
        // Whoever changes a choice stays at it; everybody else is led to what is new.
        const sorting = by && by.type === "change";
        const spot = document.querySelector("[data-focus]");
        const verdict = document.getElementById("verdict");
        if (verdict) {
            tell(verdict.dataset.announce);
            const passport = document.getElementById("passport");
            if (sorting && passport) passport.focus({ preventScroll: true });
        }
        if (spot) {
            if (spot.dataset.announce) tell(spot.dataset.announce);
            if (sorting) {
                const sort = document.getElementById("sort");
                if (sort) sort.focus({ preventScroll: true });
            } else {
                spot.focus({ preventScroll: true });
                spot.scrollIntoView({ block: "nearest" });
            }
        }
        document.querySelectorAll("[data-focus]").forEach((each) => each.removeAttribute("data-focus"));
        if (document.querySelector("main h1")) {
            const named = document.querySelector("[data-title]");
            if (named) document.title = named.dataset.title;
        }
    });

    document.addEventListener("htmx:beforeRequest", (event) => {
        warn("");
        if (event.target.id === "ask") tell("Searching");
    });
    document.addEventListener("htmx:sendError", () => warn("The network cannot be reached. Try again."));
    document.addEventListener("htmx:timeout", () => warn("This takes too long. Try again."));
    document.addEventListener("htmx:responseError", (event) => {
        // A form with faults is a page's part, a problem is a sentence.
        const answer = event.detail.xhr;
        const kind = answer.getResponseHeader("Content-Type") || "";
        if (kind.startsWith("text/plain")) warn(answer.responseText);
        else if (answer.status >= 500) warn("Something went wrong. Try again.");
    });

    furnish();
    // A page that came as a whole: its faults are the first thing to read.
    const faults = document.getElementById("faults");
    if (faults) faults.focus();
    document.querySelectorAll("[data-focus]").forEach((each) => each.removeAttribute("data-focus"));
})();
