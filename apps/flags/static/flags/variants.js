// Values of variants by their type, and weights that have to come to 100 %.

import { h, input, numberOf, select } from "./dom.js";

/** The control of a variant's value; `onchange` is told what is wrong with it, or "". */
export function variantValue(type, variant, onchange) {
    const set = (value, problem = "") => {
        variant.value = value;
        onchange(problem);
    };
    if (type === "boolean" && typeof variant.value === "boolean") {
        return select("Value", [["true", "true"], ["false", "false"]], String(variant.value), (chosen) => set(chosen === "true"));
    }
    if (type === "string" && typeof variant.value === "string") {
        // A field of one line would lose the others.
        if (!variant.value.includes("\n")) return input("Value", variant.value, (text) => set(text));
        return h("textarea", {
            class: "flags-input", rows: Math.min(10, variant.value.split("\n").length + 1), value: variant.value,
            "aria-label": "Value", oninput: (event) => set(event.target.value),
        });
    }
    if (type === "number" && typeof variant.value !== "object") {
        return input("Value", String(variant.value), (text) => {
            const number = numberOf(text);
            set(number ?? text, number === undefined ? "Give a number." : "");
        }, { inputmode: "decimal" });
    }
    const written = JSON.stringify(variant.value, null, 2) ?? "";
    return h("textarea", {
        class: "flags-input flags-code", rows: Math.min(10, written.split("\n").length + 1), value: written, "aria-label": "Value as JSON",
        spellcheck: "false",
        oninput: (event) => {
            try {
                set(JSON.parse(event.target.value));
            } catch (error) {
                onchange(`This is not JSON: ${error.message}`);
            }
        },
    });
}

/** Rows of variant and percentage over an object of hundredths of a per cent, with their sum. */
export function weightsEditor(keys, weights, onchange) {
    const sum = h("span", { class: "flags-help", "aria-live": "polite" });
    const add = () => {
        const total = Object.values(weights).reduce((one, other) => one + (Number(other) || 0), 0);
        sum.textContent = total === 10_000 ? "Together 100 %." : `Together ${total / 100} %: it has to be 100 %.`;
        sum.classList.toggle("flags-wrong", total !== 10_000);
    };
    add();
    const rows = [...new Set([...keys, ...Object.keys(weights)])].map((key) => h(
        "div", { class: "flags-line" },
        h("span", { class: "flags-weight" }, keys.includes(key) ? key : `${key} (no variant)`),
        input(`Weight of ${key}`, Object.hasOwn(weights, key) ? String(weights[key] / 100) : "0", (text) => {
            const number = numberOf(text);
            if (number === 0 || text.trim() === "") delete weights[key];
            else weights[key] = number === undefined ? text : Math.round(number * 100);
            add();
            onchange();
        }, { inputmode: "decimal", class: "flags-input flags-number" }),
        "%",
    ));
    return h("div", { class: "flags-weights" }, rows, sum);
}
