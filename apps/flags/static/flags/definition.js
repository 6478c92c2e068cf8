// The page that edits a flag's definition: sections over one document, and the document as JSON.

import { Builder } from "./conditions.js";
import { button, h, icon, input, isObject, keepingFocus, labelled, numberOf, readData, select, showFaults, toggle } from "./dom.js";
import { bucketing, prerequisites, steps } from "./sections.js";
import { variantValue, weightsEditor } from "./variants.js";

const POINTS = 100;
const PAUSE_MILLISECONDS = 300;

class Editor {
    constructor(form) {
        this.form = form;
        this.area = form.querySelector("[name=definition]");
        this.known = readData("flags-known");
        this.sections = document.getElementById("flags-sections");
        this.told = document.getElementById("flags-check");
        this.builders = [];
        this.type = form.querySelector("[name=value_type]");
        document.getElementById("flags-json-toggle").addEventListener("click", () => this.toggleJson());
        this.area.addEventListener("input", () => this.readJson());
        this.type?.addEventListener("change", () => this.retype());
        form.addEventListener("submit", (event) => this.submitted(event));
        form.addEventListener("input", () => (this.unsaved = true));
        // Unfold's own warning would listen to every field anew at each row that comes or goes.
        window.addEventListener("beforeunload", (event) => this.unsaved && event.preventDefault());
        if (this.readJson()) showFaults(this.sections, readData("flags-faults") ?? []);
        else this.toggleJson(true);
    }

    get valueType() {
        return this.type ? this.type.value : this.known.value_type;
    }

    get keys() {
        return this.definition.variants.map(({ key }) => key);
    }

    /** Take over what stands in the JSON; returns whether it could be laid out. */
    readJson() {
        let read;
        try {
            read = JSON.parse(this.area.value);
        } catch (error) {
            this.say([`The JSON cannot be read: ${error.message}`], true);
            return false;
        }
        const odd = isObject(read) ? misshapen(read) : "the definition";
        if (odd) {
            this.check();
            this.say([`${odd} has another shape than a definition: mend it here.`], true);
            return false;
        }
        this.definition = read;
        // By which key the rest of the document knows a variant whose key is being typed.
        this.named = new WeakMap();
        this.render();
        this.check();
        return true;
    }

    toggleJson(open = this.area.closest("#flags-json").hidden) {
        this.area.closest("#flags-json").hidden = !open;
        document.getElementById("flags-json-toggle").textContent = open ? "Hide JSON" : "Show JSON";
    }

    /** Called after every edit in the sections. */
    changed(structure = false) {
        this.area.value = JSON.stringify(this.definition, null, 2);
        if (structure) this.render();
        this.refresh?.();
        this.check();
    }

    check() {
        clearTimeout(this.waiting);
        this.waiting = setTimeout(() => this.ask(), PAUSE_MILLISECONDS);
    }

    async ask() {
        const body = new FormData(this.form);
        const asked = (this.asked = (this.asked ?? 0) + 1);
        let answer;
        try {
            const response = await fetch(this.known.check_url, { method: "POST", body });
            if (!response.ok) throw new Error(`it answered ${response.status}`);
            answer = await response.json();
        } catch (error) {
            this.say([`The server could not check this: ${error.message}`], true);
            return;
        }
        if (asked !== this.asked) return;
        const left = showFaults(this.sections, answer.faults);
        for (const place of this.sections.querySelectorAll("[data-reach]")) {
            place.textContent = answer.reach[place.dataset.reach] ?? "";
        }
        const count = answer.faults.length;
        this.say(
            count
                ? [`${count === 1 ? "One thing has" : `${count} things have`} to be mended.`,
                    ...left.map(({ field, detail }) => `${field}: ${detail}`)]
                : [answer.told],
            count > 0,
        );
    }

    say(lines, faulty) {
        this.told.replaceChildren(...lines.map((line) => h("p", {}, line)));
        this.told.classList.toggle("flags-wrong", faulty);
    }

    submitted(event) {
        const problem = this.sections.querySelector(".flags-problem:not(:empty)");
        if (!problem) {
            this.unsaved = false;
            return;
        }
        event.preventDefault();
        problem.closest("details")?.setAttribute("open", "");
        problem.scrollIntoView({ block: "center" });
    }

    /** Another type of values has other variants. */
    retype() {
        const fresh = structuredClone(this.known.blank[this.valueType]);
        for (const name of ["variants", "on_variant", "off_variant", "weights"]) this.definition[name] = fresh[name];
        this.changed(true);
    }

    render() {
        const open = new Set([...this.sections.querySelectorAll("details[open]")].map(({ id }) => id));
        const first = !this.sections.children.length;
        this.builders = [];
        const made = [
            this.basics(), this.variants(), this.rules(), this.everybody(), steps(this), prerequisites(this),
            bucketing(this), this.about(),
        ];
        if (!first) for (const section of made) section.open = open.has(section.id);
        keepingFocus(this.sections, () => this.sections.replaceChildren(...made));
    }

    section(name, title, path, open, ...content) {
        return h(
            "details", { class: "flags-section", id: `flags-section-${name}`, open, "data-path": path },
            h("summary", {}, title), h("div", { class: "flags-body" }, content),
        );
    }

    set(name, value, structure = false) {
        this.definition[name] = value;
        this.changed(structure);
    }

    text(label, name, help, more = {}) {
        return labelled(label, name, input(label, this.definition[name] ?? "", (text) => this.set(name, text), more), help);
    }

    basics() {
        return this.section(
            "basics", "What it is", null, true,
            labelled("Description", "description", h("textarea", {
                class: "flags-input flags-wide", rows: 2, "aria-label": "Description", value: this.definition.description ?? "",
                oninput: (event) => this.set("description", event.target.value),
            })),
            labelled("State", "enabled", toggle("Turned on: overrides, rules and the rollout below decide", this.definition.enabled === true,
                (on) => this.set("enabled", on), { name: "" })),
        );
    }

    variants() {
        const { variants } = this.definition;
        const fixed = this.valueType === "boolean";
        const rows = variants.map((variant, place) => h(
            "div", { class: "flags-row", "data-path": `variants[${place}]` },
            h(
                "div", { class: "flags-line" },
                input("Key of the variant", variant.key, (key) => this.rename(variant, key), { placeholder: "key", class: "flags-input flags-attribute" }),
                h("div", { class: "flags-value" }, variantValue(this.valueType, variant, (problem) => {
                    variantProblem(rows[place], problem);
                    this.changed();
                })),
                variants.length > 1 && icon("delete", `Remove the variant ${variant.key}`, () => {
                    variants.splice(place, 1);
                    this.changed(true);
                }),
            ),
            h("p", { class: "flags-problem" }),
        ));
        const choice = (name, label, help) => labelled(label, name,
            select(label, variants.map(({ key }) => [key, key]), this.definition[name], (key) => this.set(name, key, true)), help);
        return this.section(
            "variants", `Variants (${variants.length})`, "variants", !fixed, rows,
            h("div", { class: "flags-line" }, button("Add a variant", () => {
                const blank = { boolean: true, string: "", number: 0, json: {} }[this.valueType];
                variants.push({ key: `variant_${variants.length + 1}`, value: blank });
                this.changed(true);
            })),
            h("div", { class: "flags-columns" },
                choice("on_variant", "When it is on", "Whom the rollout reaches gets this, unless weights split them."),
                choice("off_variant", "When it is off", "Everybody else gets this, and everybody while the flag is off or killed.")),
        );
    }

    /** A variant's key is named in many places: all of them follow, once it is its own again. */
    rename(variant, key) {
        const old = this.named.get(variant) ?? variant.key;
        variant.key = key;
        this.named.set(variant, old);
        if (key && this.keys.filter((other) => other === key).length === 1) {
            this.named.set(variant, key);
            this.follow(old, key);
        }
        this.changed();
        for (const name of ["rules", "everybody"]) {
            const section = document.getElementById(`flags-section-${name}`);
            const fresh = name === "rules" ? this.rules() : this.everybody();
            fresh.open = section.open;
            section.replaceWith(fresh);
        }
        for (const choice of document.querySelectorAll("#flags-section-variants select[aria-label^=When]")) {
            const name = choice.getAttribute("aria-label") === "When it is on" ? "on_variant" : "off_variant";
            choice.replaceChildren(...this.keys.map((each) => {
                const option = h("option", { value: each }, each);
                option.selected = each === this.definition[name];
                return option;
            }));
        }
    }

    follow(old, key) {
        const { definition } = this;
        const moved = (weights) => {
            if (!weights || !Object.hasOwn(weights, old) || old === key) return;
            weights[key] = weights[old];
            delete weights[old];
        };
        for (const name of ["on_variant", "off_variant"]) if (definition[name] === old) definition[name] = key;
        moved(definition.weights);
        for (const rule of definition.rules) {
            if (rule.variant === old) rule.variant = key;
            moved(rule.weights);
        }
        for (const overrides of [definition.tenant_overrides, definition.user_overrides]) {
            for (const of of Object.keys(overrides)) if (overrides[of] === old) overrides[of] = key;
        }
    }

    conditions(holder, path) {
        const element = h("div", { class: "flags-builder" });
        this.builders.push(new Builder(element, this.known, holder.conditions, path, (document) => {
            holder.conditions = document;
            this.changed();
        }));
        return element;
    }

    rules() {
        const { rules } = this.definition;
        const move = (from, to) => {
            rules.splice(to, 0, ...rules.splice(from, 1));
            this.changed(true);
        };
        const cards = rules.map((rule, place) => {
            const path = `rules[${place}]`;
            return h(
                "div", { class: "flags-card", "data-path": path },
                h(
                    "div", { class: "flags-line" },
                    h("strong", { title: rule.id }, `Rule ${place + 1}`),
                    input("Description of the rule", rule.description, (text) => {
                        rule.description = text;
                        this.changed();
                    }, { placeholder: "what it is for", class: "flags-input flags-grow" }),
                    place > 0 && icon("arrow_upward", `Move rule ${place + 1} up`, () => move(place, place - 1)),
                    place < rules.length - 1 && icon("arrow_downward", `Move rule ${place + 1} down`, () => move(place, place + 1)),
                    icon("delete", `Remove rule ${place + 1}`, () => {
                        rules.splice(place, 1);
                        this.changed(true);
                    }),
                ),
                h("span", { class: "flags-label" }, "For whom"), this.conditions(rule, `${path}.conditions`),
                labelled("Rollout", `${path}.rollout`, this.slider(rule.rollout / POINTS, 0.01, (percent) => {
                    rule.rollout = Math.round(percent * POINTS);
                    this.changed();
                }), h("span", { class: "flags-help", "data-reach": path })),
                this.serves(rule, path),
            );
        });
        return this.section(
            "rules", `Rules (${rules.length})`, "rules", rules.length > 0,
            h("p", { class: "flags-help" }, "The first whose conditions hold and whose rollout reaches somebody decides."),
            cards,
            h("div", { class: "flags-line" }, button("Add a rule", () => {
                rules.push({
                    id: freshId(rules), description: "", conditions: {}, rollout: 100 * POINTS, variant: this.definition.on_variant,
                });
                this.changed(true);
                document.getElementById("flags-section-rules").open = true;
            })),
        );
    }

    serves(rule, path) {
        const split = rule.weights !== undefined && rule.weights !== null;
        const choice = select("What the rule answers", [...this.keys.map((key) => [`=${key}`, key]), ["", "several, by weights"]],
            split ? "" : `=${rule.variant}`, (chosen) => {
                delete rule.variant;
                delete rule.weights;
                if (chosen) rule.variant = chosen.slice(1);
                else rule.weights = evenly(this.keys);
                this.changed(true);
            });
        return [
            labelled("Answers", `${path}.variant`, choice),
            split && h("div", { "data-path": `${path}.weights` }, weightsEditor(this.keys, rule.weights, () => this.changed())),
        ];
    }

    everybody() {
        const { definition } = this;
        const split = Object.keys(definition.weights).length > 0;
        return this.section(
            "everybody", definition.rules.length ? "Everybody else" : "For whom it is on", null, true,
            h("div", { "data-path": "conditions" }, h("span", { class: "flags-label" }, "Of those who meet"), this.conditions(definition, "conditions")),
            labelled("Rollout", "rollout_percentage", this.slider(definition.rollout_percentage, 1, (percent) =>
                this.set("rollout_percentage", Math.round(percent))), h("span", { class: "flags-help", "data-reach": "" })),
            this.keys.length > 1 && labelled("They get", null, select("What they get", [["", definition.on_variant], ["split", "several, by weights"]],
                split ? "split" : "", (chosen) => this.set("weights", chosen ? evenly(this.keys) : {}, true))),
            h("div", { "data-path": "weights" }, split && weightsEditor(this.keys, definition.weights, () => this.changed())),
        );
    }

    slider(percent, step, onchange) {
        const number = input("Percentage", String(percent), (text) => {
            const given = numberOf(text);
            const steps = given / step;
            if (given === undefined || given < 0 || given > 100) problem.textContent = "Give 0 to 100.";
            else if (Math.abs(steps - Math.round(steps)) > 1e-6) problem.textContent = `Give it in steps of ${step} %.`;
            else problem.textContent = "";
            if (given === undefined) return;
            range.value = given;
            onchange(given);
        }, { inputmode: "decimal", class: "flags-input flags-number" });
        const range = h("input", {
            type: "range", min: 0, max: 100, step: 1, value: percent, "aria-label": "Percentage, as a slider", class: "flags-range",
            oninput: () => {
                number.value = range.value;
                problem.textContent = "";
                onchange(Number(range.value));
            },
        });
        const problem = h("p", { class: "flags-problem" });
        return h("div", { class: "flags-line" }, range, number, h("span", {}, "%"), problem);
    }

    about() {
        const { definition } = this;
        const count = Object.keys(definition.tenant_overrides).length + Object.keys(definition.user_overrides).length;
        return this.section(
            "about", "Owner, expiry and protection", null, false,
            h("div", { class: "flags-columns" },
                labelled("Owner", "owner", select("Owner", [["", "nobody"], ...this.known.owners], definition.owner ?? "", (id) =>
                    this.set("owner", id || null))),
                labelled("Expires", "expires_date", h("input", {
                    type: "date", class: "flags-input", "aria-label": "Expires", value: definition.expires_date ?? "",
                    oninput: (event) => this.set("expires_date", event.target.value || null),
                }), "When it should be gone from the code.")),
            labelled("Tags", "tags", input("Tags", definition.tags.join(", "), (text) =>
                this.set("tags", text.split(",").map((tag) => tag.trim()).filter(Boolean))), "With commas between."),
            labelled("Protection", "is_protected", toggle("Every change needs the approval of somebody who took no part in it", definition.is_protected === true,
                (on) => this.set("is_protected", on))),
            labelled("Visibility", "tenant_visible", toggle("Tenants may ask for it over the API", definition.tenant_visible === true,
                (on) => this.set("tenant_visible", on))),
            h("div", { "data-path": "tenant_overrides" }),
            h("div", { "data-path": "user_overrides" }),
            count > 0 && h("p", { class: "flags-help" }, `${count} overrides stay as they are: they have tabs of their own.`),
        );
    }
}

/** Return the name of what the sections could not show, or nothing. */
function misshapen(read) {
    const lists = ["rules", "prerequisites", "variants", "steps", "tags"];
    const objects = ["weights", "tenant_overrides", "user_overrides"];
    return lists.find((name) => !Array.isArray(read[name]))
        ?? objects.find((name) => !isObject(read[name]))
        ?? lists.slice(0, 4).find((name) => !read[name].every(isObject))
        ?? (read.prerequisites.every(({ variants }) => Array.isArray(variants)) ? undefined : "prerequisites")
        ?? (read.rules.every(({ weights }) => weights === undefined || weights === null || isObject(weights)) ? undefined : "rules");
}

function variantProblem(element, problem) {
    element.querySelector(".flags-problem").textContent = problem;
}

function freshId(rules) {
    const taken = new Set(rules.map(({ id }) => id));
    let number = rules.length + 1;
    while (taken.has(`rule-${number}`)) number += 1;
    return `rule-${number}`;
}

function evenly(keys) {
    const share = Math.floor((100 * POINTS) / keys.length);
    return Object.fromEntries(keys.map((key, place) => [key, place ? share : 100 * POINTS - share * (keys.length - 1)]));
}

const form = document.getElementById("flags-editor");
if (form) new Editor(form);
