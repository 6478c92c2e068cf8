// Sections of the editor that stand apart: steps to come, prerequisites, bucketing.

import { button, h, icon, input, labelled, numberOf, select, toggle } from "./dom.js";

const POINTS = 100;

/** What an object holds by a name that people chose, be it `constructor`. */
const heldBy = (object, name) => (Object.hasOwn(object, name) ? object[name] : null);

export function steps(editor) {
    const { steps: held } = editor.definition;
    const rows = held.map((step, place) => h(
        "div", { class: "flags-row", "data-path": `steps[${place}]` },
        h(
            "div", { class: "flags-line" },
            h("input", {
                type: "datetime-local", class: "flags-input flags-when", "aria-label": "At (UTC)", value: minuteOf(step.at),
                oninput: (event) => {
                    step.at = event.target.value ? `${event.target.value}:00Z` : "";
                    editor.changed();
                },
            }),
            h("span", { class: "flags-help" }, "UTC: to"),
            input("Percentage", step.percentage ?? "", (text) => {
                const number = numberOf(text);
                if (text.trim()) step.percentage = number ?? text;
                else delete step.percentage;
                editor.changed();
            }, { inputmode: "numeric", placeholder: "as is", class: "flags-input flags-number" }),
            h("span", { class: "flags-help" }, "%,"),
            select("State", [["", "on or off as it is"], ["true", "turned on"], ["false", "turned off"]], String(step.enabled ?? ""), (chosen) => {
                if (chosen) step.enabled = chosen === "true";
                else delete step.enabled;
                editor.changed();
            }),
            icon("delete", "Remove the step", () => {
                held.splice(place, 1);
                editor.changed(true);
            }),
        ),
    ));
    return editor.section(
        "steps", `Steps to come (${held.length})`, "steps", held.length > 0,
        h("p", { class: "flags-help" }, "Each changes the rollout by itself at its minute; a kill stops them."), rows,
        h("div", { class: "flags-line" }, button("Add a step", () => {
            const last = held.at(-1)?.at;
            const after = new Date((last ? Date.parse(last) : Date.now()) + 86_400_000);
            held.push({ at: `${after.toISOString().slice(0, 16)}:00Z`, percentage: 100 });
            editor.changed(true);
        })),
    );
}

export function prerequisites(editor) {
    const { prerequisites: held } = editor.definition;
    const flags = Object.keys(editor.known.flags).map((name) => [name, name]);
    const keysOf = (name) => heldBy(editor.known.flags, name) ?? [];
    const rows = held.map((asked, place) => h(
        "div", { class: "flags-row", "data-path": `prerequisites[${place}]` },
        h(
            "div", { class: "flags-line" },
            select("Flag", [["", "choose a flag"], ...flags], asked.flag, (name) => {
                asked.flag = name;
                asked.variants = keysOf(name).slice(0, 1);
                editor.changed(true);
            }),
            h("span", { class: "flags-help" }, "answers"),
            [...new Set([...keysOf(asked.flag), ...asked.variants])].map((key) =>
                toggle(key, asked.variants.includes(key), (on) => {
                    asked.variants = on ? [...asked.variants, key] : asked.variants.filter((other) => other !== key);
                    editor.changed();
                })),
            icon("delete", "Remove the prerequisite", () => {
                held.splice(place, 1);
                editor.changed(true);
            }),
        ),
    ));
    return editor.section(
        "prerequisites", `Prerequisites (${held.length})`, "prerequisites", held.length > 0,
        h("p", { class: "flags-help" }, "Unless each of these answers so, this flag is off."), rows,
        h("div", { class: "flags-line" }, button("Add a prerequisite", () => {
            held.push({ flag: "", variants: [] });
            editor.changed(true);
        })),
    );
}

export function bucketing(editor) {
    const { definition } = editor;
    const names = Object.keys(editor.known.namespaces).map((name) => [name, name]);
    const held = heldBy(editor.known.namespaces, definition.namespace);
    const range = definition.namespace_range ?? [0, 0];
    const end = (place, label) => input(label, String(range[place] / POINTS), (text) => {
        const number = numberOf(text);
        const next = [...(definition.namespace_range ?? [0, 0])];
        next[place] = number === undefined ? text : Math.round(number * POINTS);
        editor.set("namespace_range", next);
    }, { inputmode: "decimal", class: "flags-input flags-number" });
    const picture = h("div");
    editor.refresh = () => {
        const drawn = held ? [ranges(held, definition.namespace_range, editor.known.name)] : [];
        picture.replaceChildren(...drawn);
    };
    editor.refresh();
    return editor.section(
        "bucketing", "Bucketing and namespace", null, Boolean(definition.namespace),
        editor.text("Bucketing unit", "bucketing_unit", "What stays together: user, enterprise, or any other attribute.", { list: "flags-units" }),
        labelled("Namespace", "namespace", select("Namespace", [["", "none"], ...names], definition.namespace ?? "", (name) => {
            definition.namespace = name || null;
            definition.namespace_range = name ? free(editor.known.namespaces[name], editor.known.name) : null;
            editor.changed(true);
        }), "One unit is in one flag of a namespace at most."),
        held && labelled("Range", "namespace_range", h(
            "div", {},
            h("div", { class: "flags-line" }, end(0, "From, in per cent"), "% to", end(1, "To, in per cent"), "%"), picture,
        )),
    );
}

/** An instant as the browser's picker takes it, in UTC. */
function minuteOf(text) {
    const at = new Date(text ?? "");
    return Number.isNaN(at.valueOf()) ? "" : at.toISOString().slice(0, 16);
}

/** The first gap of a namespace that nobody has. */
function free(namespace, own) {
    let low = 0;
    for (const taken of namespace.ranges.filter(({ flag }) => flag !== own).sort((one, other) => one.low - other.low)) {
        if (taken.low > low) return [low, taken.low];
        low = Math.max(low, taken.high);
    }
    return [low, Math.max(low, 100 * POINTS - namespace.holdout)];
}

/** A picture of who has which buckets of a namespace. */
function ranges(namespace, range, own) {
    const bar = (low, high, kind, title) => h("span", {
        class: `flags-share flags-${kind}`, title, style: `left: ${low / POINTS}%; width: ${Math.max(0, high - low) / POINTS}%`,
    }, title);
    const others = namespace.ranges.filter(({ flag }) => flag !== own);
    return h(
        "div", { class: "flags-ranges", role: "img", "aria-label": "The ranges of the namespace" },
        others.map(({ flag, low, high }) => bar(low, high, "taken", flag)),
        Array.isArray(range) && range.every((end) => typeof end === "number") && bar(range[0], range[1], "own", "this flag"),
        namespace.holdout > 0 && bar(100 * POINTS - namespace.holdout, 100 * POINTS, "held", "held out"),
    );
}
