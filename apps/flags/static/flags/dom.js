// Elements of the flag editor, made without a framework.

export function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (name === "value" || name === "checked") element[name] = value;
        else if (value === true) element.setAttribute(name, "");
        else if (value !== false && value !== null && value !== undefined) {
            element.setAttribute(name, value);
        }
    }
    element.append(...children.flat(Infinity).filter((child) => child || child === 0));
    return element;
}

export const button = (text, onclick, more = {}) =>
    h("button", { type: "button", class: "flags-button", onclick, ...more }, text);

export const icon = (name, label, onclick, more = {}) =>
    h(
        "button",
        { type: "button", class: "flags-icon", "aria-label": label, title: label, onclick, ...more },
        h("span", { class: "material-symbols-outlined" }, name),
    );

export const input = (label, value, oninput, more = {}) =>
    h("input", {
        type: "text", class: "flags-input", "aria-label": label, autocomplete: "off", value,
        oninput: (event) => oninput(event.target.value), ...more,
    });

/** A select of [value, words] pairs; a value that is not among them is kept and shown. */
export function select(label, options, value, onchange, more = {}) {
    const known = options.some(([option]) => option === value);
    const all = known || value === "" || value === null ? options : [...options, [value, `${value} (unknown)`]];
    return h(
        "select",
        { class: "flags-input", "aria-label": label, onchange: (event) => onchange(event.target.value), ...more },
        all.map(([option, words]) => {
            const made = h("option", { value: option }, words);
            made.selected = option === value;
            return made;
        }),
    );
}

export function toggle(label, checked, onchange, more = {}) {
    return h(
        "label", { class: "flags-check" },
        h("input", { type: "checkbox", checked, onchange: (event) => onchange(event.target.checked), ...more }),
        label,
    );
}

export const labelled = (label, path, control, ...help) =>
    h(
        "div", { class: "flags-field", "data-path": path },
        h("span", { class: "flags-label" }, label), control,
        help.filter(Boolean).map((text) => (text instanceof Node ? text : h("span", { class: "flags-help" }, text))),
    );

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Stand what the server refuses at the element whose path it names, or at the nearest around it. */
export function showFaults(root, faults) {
    root.querySelectorAll(".flags-fault").forEach((element) => element.remove());
    root.querySelectorAll(".flags-faulty").forEach((element) => element.classList.remove("flags-faulty"));
    const places = [...root.querySelectorAll("[data-path]")];
    const left = [];
    for (const fault of faults) {
        const around = places
            .filter((place) => contains(place.dataset.path, fault.field))
            .sort((one, other) => other.dataset.path.length - one.dataset.path.length)[0];
        if (!around) {
            left.push(fault);
            continue;
        }
        around.classList.add("flags-faulty");
        around.append(h("p", { class: "flags-fault", title: fault.field }, fault.detail));
        const folded = around.closest("details");
        if (folded) folded.open = true;
    }
    return left;
}

function contains(path, field) {
    if (!path || !field.startsWith(path)) return false;
    return field.length === path.length || ".[".includes(field[path.length]);
}

/** A number as people typed it, or undefined. */
export function numberOf(text) {
    const trimmed = text.trim();
    const number = Number(trimmed);
    return trimmed === "" || !Number.isFinite(number) ? undefined : number;
}

/** Draw anew and leave the focus on the control that had it, told by its label and place. */
export function keepingFocus(root, draw) {
    const active = document.activeElement;
    const label = root.contains(active) ? active.getAttribute("aria-label") : null;
    const alike = () => [...root.querySelectorAll("[aria-label]")].filter((each) => each.getAttribute("aria-label") === label);
    const place = label ? alike().indexOf(active) : -1;
    draw();
    if (place >= 0) alike()[place]?.focus();
}

export function readData(id) {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
}
