// The rule builder: conditions as rows and groups, in step with the JSON that they stand for.

import { button, h, icon, input, isObject, keepingFocus, numberOf, select, toggle } from "./dom.js";
import { Tree, group, row } from "./tree.js";

const MODES = [
    ["all", "all of these hold"],
    ["any", "any of these holds"],
    ["none", "none of these holds"],
    ["not", "these do not all hold"],
];
const VALUE_MODES = [["not", "these do not all hold"]];
const KINDS = [
    ["text", "text"], ["number", "number"], ["boolean", "true/false"], ["null", "nothing"], ["json", "JSON"],
];
const TYPES = ["string", "number", "boolean", "array", "object", "null"].map((word) => [
    word, { string: "text", array: "list", boolean: "true/false", null: "nothing" }[word] ?? word,
]);
// More of them are quicker to edit as JSON.
const CHIPS = 200;

/** What the page knows: {operators: [{op, words, input}], segments: [name], attributes: [name]}. */
export class Builder {
    constructor(element, known, document, path, onchange) {
        this.element = element;
        this.known = known;
        this.inputs = Object.fromEntries(known.operators.map(({ op, input: kind }) => [op, kind]));
        this.tree = new Tree(known.operators.map(({ op }) => op));
        this.path = path;
        this.onchange = onchange;
        this.show(document);
    }

    show(document) {
        this.root = this.tree.read(document, this.path);
        this.render();
    }

    /** Called after every edit: write the document, name the places, tell the page. */
    changed(structure = false) {
        const document = this.tree.write(this.root, this.path);
        if (structure) this.render();
        this.place(this.root);
        this.onchange(document);
    }

    moved(path) {
        this.path = path;
        this.tree.write(this.root, path);
        this.place(this.root);
    }

    faulty() {
        return Boolean(this.element.querySelector(".flags-problem:not(:empty)"));
    }

    place(item) {
        if (item.element) item.element.dataset.path = item.path ?? "";
        if (item.told) item.told.textContent = item.problem || item.typed || "";
        (item.items ?? []).forEach((inner) => this.place(inner));
        if (item.nested) this.place(item.nested);
    }

    render() {
        keepingFocus(this.element, () => this.element.replaceChildren(this.group(this.root, null)));
        this.place(this.root);
    }

    group(item, around) {
        const modes = item.scope === "value" ? VALUE_MODES : MODES;
        const head = around
            ? select("How these are combined", modes, item.mode, (mode) => {
                item.mode = mode;
                this.changed(true);
            })
            : h("span", { class: "flags-help" }, item.scope === "value" ? "All of these hold for it:" : this.rootWords(item));
        item.element = h(
            "div", { class: around ? "flags-group" : "flags-group flags-root", role: "group" },
            h("div", { class: "flags-line" }, head, around && this.remove(item, around)),
            item.items.map((inner) => (inner.kind === "group" ? this.group(inner, item) : this.line(inner, item))),
            h(
                "div", { class: "flags-line" },
                button("Add a condition", () => this.add(item, row(item.scope === "value" ? null : "", this.free(item), ""))),
                this.mayHoldGroup(item) && button("Add a group", () =>
                    this.add(item, group(item.scope === "value" ? "not" : "any", [], item.scope))),
            ),
        );
        item.told = null;
        return item.element;
    }

    rootWords(item) {
        if (!item.items.length) return "No conditions: everybody.";
        return item.items.length > 1 ? "All of these hold:" : "This holds:";
    }

    mayHoldGroup(item) {
        return item.scope !== "value" || !item.items.some((inner) => inner.kind === "group");
    }

    /** Operators on one value stand there once each. */
    free(item) {
        if (item.scope !== "value") return "$eq";
        const used = new Set(item.items.map((inner) => inner.op));
        return this.known.operators.find(({ op }) => !used.has(op)).op;
    }

    add(item, inner) {
        item.items.push(inner);
        this.changed(true);
        inner.element?.querySelector("input, select")?.focus();
    }

    remove(item, around) {
        return icon("delete", item.kind === "group" ? "Remove the group" : "Remove the condition", () => {
            around.items.splice(around.items.indexOf(item), 1);
            this.changed(true);
        });
    }

    line(item, around) {
        item.told = h("p", { class: "flags-problem", "aria-live": "polite" });
        const parts = item.kind === "json" ? this.json(item) : this.row(item, around);
        item.element = h(
            "div", { class: "flags-row" },
            h("div", { class: "flags-line" }, parts, this.remove(item, around)),
            item.nested && this.nested(item),
            item.told,
        );
        return item.element;
    }

    json(item) {
        return [
            h("span", { class: "flags-help" }, "JSON"),
            h("textarea", {
                class: "flags-input flags-code", rows: Math.min(8, item.text.split("\n").length), value: item.text,
                "aria-label": "A condition as JSON", spellcheck: "false",
                oninput: (event) => {
                    item.text = event.target.value;
                    this.changed();
                },
            }),
        ];
    }

    row(item, around) {
        const used = new Set(around.scope === "value" ? around.items.map((inner) => inner !== item && inner.op) : []);
        const words = this.known.operators.filter(({ op }) => !used.has(op)).map(({ op, words: told }) => [op, told]);
        return [
            item.attribute !== null && input("Attribute", item.attribute, (text) => {
                item.attribute = text.trim();
                this.changed();
            }, { list: "flags-attributes", placeholder: "attribute, such as plan", class: "flags-input flags-attribute" }),
            select("Operator", words, item.op, (op) => {
                this.become(item, op);
                this.changed(true);
            }, { class: "flags-input flags-operator" }),
            h("div", { class: "flags-value" }, this.value(item)),
        ];
    }

    /** Give a row another operator; what was typed stays where it fits. */
    become(item, op) {
        const was = this.inputs[item.op];
        const kind = this.inputs[op];
        const one = Array.isArray(item.value) ? (item.value[0] ?? "") : item.value;
        item.op = op;
        item.typed = "";
        item.nested = null;
        if (kind === was && kind !== "element") return;
        if (kind === "list") item.value = Array.isArray(item.value) ? item.value : one === "" || isObject(one) ? [] : [one];
        else if (kind === "boolean") item.value = true;
        else if (kind === "type") item.value = "string";
        else if (kind === "size") item.value = 1;
        else if (kind === "segment") item.value = this.known.segments[0] ?? "";
        else if (kind === "element") item.nested = group("all", [], "value");
        else if (kind === "value") item.value = one;
        else item.value = kind === "comparable" && typeof one === "number" ? one : typeof one === "string" ? one : "";
    }

    value(item) {
        const kind = this.inputs[item.op];
        const { value } = item;
        const set = (given) => {
            item.value = given;
            this.changed();
        };
        const text = typeof value === "string";
        if (item.nested) return this.scope(item);
        if (kind === "list" && Array.isArray(value) && value.length <= CHIPS) return this.chips(item);
        if (kind === "boolean" && typeof value === "boolean") {
            return select("Whether", [["true", "yes"], ["false", "no"]], String(value), (given) => set(given === "true"));
        }
        if (kind === "type" && text) return select("Type", TYPES, value, set);
        if (kind === "segment" && text) {
            return select("Segment", [["", "choose"], ...this.known.segments.map((name) => [name, name])], value, set);
        }
        if (kind === "pattern" && text) return input("Pattern", value, set, { class: "flags-input flags-code", placeholder: "^[a-z]+$" });
        if (kind === "version" && text) return input("Version", value, set, { placeholder: "2.10.0" });
        if (kind === "size" && typeof value === "number") {
            return [this.number(item, "Length", set), button("compare it instead", () => {
                item.nested = group("all", [row(null, "$gte", value)], "value");
                this.changed(true);
            })];
        }
        if (kind === "comparable" && (text || typeof value === "number")) return this.scalar(item, KINDS.slice(0, 2), set);
        if (kind === "value") return this.scalar(item, KINDS, set);
        return this.raw(item, set);
    }

    scalar(item, kinds, set) {
        const { value } = item;
        item.as ??= value === null ? "null" : typeof value === "object" ? "json" : { string: "text" }[typeof value] ?? typeof value;
        const chosen = select("Type of the value", kinds, item.as, (as) => {
            item.as = as;
            const told = typeof item.value === "object" ? "" : String(item.value);
            item.typed = "";
            item.value = { text: told, number: numberOf(told) ?? 0, boolean: told === "true", null: null, json: item.value }[as];
            this.changed(true);
        }, { class: "flags-input flags-kind" });
        if (item.as === "null") return chosen;
        if (item.as === "boolean") {
            return [chosen, select("Value", [["true", "true"], ["false", "false"]], String(value), (given) => set(given === "true"))];
        }
        if (item.as === "number") return [chosen, this.number(item, "Value", set)];
        if (item.as === "json") return [chosen, this.raw(item, set)];
        return [chosen, input("Value", String(value ?? ""), set)];
    }

    number(item, label, set) {
        return input(label, String(item.value), (text) => {
            const number = numberOf(text);
            item.typed = number === undefined ? "Give a number." : "";
            set(number === undefined ? text : number);
        }, { inputmode: "decimal", class: "flags-input flags-number" });
    }

    raw(item, set) {
        return h("textarea", {
            class: "flags-input flags-code", rows: 2, "aria-label": "Value as JSON", spellcheck: "false",
            value: JSON.stringify(item.value),
            oninput: (event) => {
                try {
                    item.typed = "";
                    set(JSON.parse(event.target.value));
                } catch (error) {
                    item.typed = `This is not JSON: ${error.message}`;
                    this.changed();
                }
            },
        });
    }

    chips(item) {
        const numbers = item.value.length > 0 && item.value.every((each) => typeof each === "number");
        item.numbers ??= numbers;
        const take = (texts) => {
            const given = texts.map((text) => text.trim()).filter(Boolean);
            const wrong = item.numbers ? given.find((text) => numberOf(text) === undefined) : undefined;
            item.typed = wrong === undefined ? "" : `“${wrong}” is no number.`;
            if (wrong === undefined) item.value = [...item.value, ...given.map((text) => (item.numbers ? numberOf(text) : text))];
            return wrong === undefined && given.length > 0;
        };
        const typing = input("Add to the list", "", (text) => {
            if (!text && item.typed) {
                item.typed = "";
                this.changed();
            }
        }, {
            placeholder: item.value.length ? "another" : "type one, then Enter",
            onkeydown: (event) => {
                if (event.key !== "Enter") return;
                event.preventDefault();
                const taken = take([event.target.value]);
                if (taken) event.target.value = "";
                this.changed(taken);
                if (taken) item.element.querySelector(".flags-chips input")?.focus();
            },
            onpaste: (event) => {
                const lines = event.clipboardData.getData("text").split(/[\r\n]+/);
                if (lines.length < 2) return;
                event.preventDefault();
                this.changed(take(lines));
            },
            onchange: (event) => {
                if (event.target.value) this.changed(take([event.target.value]));
            },
        });
        return h(
            "div", { class: "flags-chips" },
            item.value.map((each, place) => h(
                "span", { class: "flags-chip" },
                typeof each === "string" ? each || "(empty)" : JSON.stringify(each),
                icon("close", `Remove ${each}`, () => {
                    item.value = item.value.filter((_, other) => other !== place);
                    this.changed(true);
                }),
            )),
            typing,
            toggle("numbers", item.numbers, (on) => {
                item.numbers = on;
                item.typed = "";
                item.value = item.value.map((each) => (on ? numberOf(String(each)) ?? each : typeof each === "number" ? String(each) : each));
                this.changed(true);
            }),
        );
    }

    scope(item) {
        if (item.op !== "$elemMatch") return h("span", { class: "flags-help" }, "that");
        const scopes = [["value", "which itself"], ["document", "whose attributes"]];
        return select("What is looked at", scopes, item.nested.scope, (scope) => {
            item.nested = group("all", [], scope);
            this.changed(true);
        });
    }

    nested(item) {
        return h("div", { class: "flags-nested" }, this.group(item.nested, null));
    }
}
