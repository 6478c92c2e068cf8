// A document of conditions as groups and rows, and back: whatever is read is written again.
//
// group: {kind: "group", mode: "all" | "any" | "none" | "not", scope: "document" | "value", items}
// row:   {kind: "row", attribute (null in the scope of a value), op, value, nested (a group) or null}
// json:  {kind: "json", text}, what cannot be laid out
// Writing notes each item's `path`, by which the server names it, and `problem` where it has none.

import { isObject } from "./dom.js";

const LISTS = { $and: "all", $or: "any", $nor: "none" };
const KEYS = { any: "$or", none: "$nor", not: "$not" };

export const group = (mode, items, scope = "document") => ({ kind: "group", mode, scope, items });
export const row = (attribute, op, value, nested = null) => ({ kind: "row", attribute, op, value, nested });
const json = (value) => ({ kind: "json", text: JSON.stringify(value, null, 2) });

/** Make the objects that documents are written into: `__proto__` is a name like others. */
const blank = () => Object.create(null);
const pair = (name, value) => Object.assign(blank(), { [name]: value });

export class Tree {
    constructor(operators) {
        this.known = new Set([...operators, "$not"]);
    }

    read(document, path) {
        const root = group("all", isObject(document) ? this.items(document, path) : [json(document)]);
        root.path = path;
        return root;
    }

    items(document, path) {
        return Object.entries(document).flatMap(([name, operand]) => this.entry(name, operand, `${path}.${name}`));
    }

    entry(name, operand, path) {
        if (Object.hasOwn(LISTS, name) && Array.isArray(operand) && operand.every(isObject)) {
            const items = operand.map((document, place) => this.single(document, `${path}[${place}]`));
            return [at(group(LISTS[name], items), path)];
        }
        if (name === "$not" && isObject(operand)) return [at(group("not", this.items(operand, path)), path)];
        if (name.startsWith("$")) return [at(json(pair(name, operand)), path)];
        if (this.areOperators(operand)) return this.operators(name, operand, path);
        const odd = isObject(operand) && (!Object.keys(operand).length || Object.keys(operand).some((key) => key[0] === "$"));
        return [at(odd ? json(pair(name, operand)) : row(name, "$eq", operand), path)];
    }

    single(document, path) {
        const items = this.items(document, path);
        return items.length === 1 ? items[0] : at(group("all", items), path);
    }

    operators(attribute, operators, path) {
        return Object.entries(operators).map(([op, operand]) =>
            at(this.operator(attribute, op, operand, `${path}.${op}`), `${path}.${op}`));
    }

    operator(attribute, op, operand, path) {
        const scope = attribute === null ? "value" : "document";
        if (op === "$not" && this.areOperators(operand)) {
            return group("not", this.operators(attribute, operand, path), scope);
        }
        if (op === "$size" && this.areOperators(operand)) {
            return row(attribute, op, null, at(group("all", this.operators(null, operand, path), "value"), path));
        }
        if (op === "$elemMatch" && isObject(operand)) {
            const nested = this.areOperators(operand)
                ? group("all", this.operators(null, operand, path), "value")
                : group("all", this.items(operand, path));
            return row(attribute, op, null, at(nested, path));
        }
        if (op === "$not" || op === "$elemMatch") {
            return json(attribute === null ? pair(op, operand) : pair(attribute, pair(op, operand)));
        }
        return row(attribute, op, operand);
    }

    areOperators(operand) {
        return isObject(operand) && Object.keys(operand).length > 0
            && Object.keys(operand).every((name) => this.known.has(name));
    }

    write(root, path) {
        const only = root.items.length === 1 && root.items[0].kind === "json" ? parsed(root.items[0]) : undefined;
        root.path = path;
        if (only !== undefined && !isObject(only)) {
            root.items[0].path = path;
            return only;
        }
        return this.document(root.items, path);
    }

    document(items, path) {
        const document = blank();
        const clauses = new Map();
        const rest = [];
        for (const item of items) {
            item.problem = "";
            if (item.kind === "row") {
                const held = clauses.get(item.attribute) ?? new Map();
                if (held.has(item.op)) rest.push(item);
                else clauses.set(item.attribute, held.set(item.op, item));
            } else if (item.kind === "group" && item.mode === "all") {
                rest.push(...item.items);
            } else if (item.kind === "group" && !(KEYS[item.mode] in document)) {
                document[KEYS[item.mode]] = this.inner(item, `${path}.${KEYS[item.mode]}`);
            } else {
                rest.push(item);
            }
        }
        for (const [attribute, held] of clauses) {
            document[attribute] = this.clause(held, `${path}.${attribute}`);
        }
        const apart = [];
        for (const item of rest) {
            item.problem = "";
            const value = item.kind === "json" ? parsed(item) : undefined;
            if (item.kind !== "json") apart.push(item);
            else if (!isObject(value)) item.problem ||= "Conditions are an object of attributes.";
            else if (Object.keys(value).some((name) => name in document)) apart.push(item);
            else {
                Object.assign(document, value);
                const names = Object.keys(value);
                item.path = names.length === 1 ? `${path}.${names[0]}` : path;
            }
        }
        if (apart.length) {
            const list = Array.isArray(document.$and) ? document.$and : [];
            document.$and = [...list, ...apart.map((item, place) =>
                this.asDocument(item, `${path}.$and[${list.length + place}]`))];
        }
        for (const item of items) {
            if (item.kind === "group" && item.mode === "all") item.path = `${path}.$and`;
        }
        return document;
    }

    inner(item, path) {
        item.path = path;
        if (item.mode === "not") return this.document(item.items, path);
        return item.items.map((inner, place) => this.asDocument(inner, `${path}[${place}]`));
    }

    asDocument(item, path) {
        if (item.kind === "group" && item.mode === "all") {
            item.path = path;
            return this.document(item.items, path);
        }
        if (item.kind === "json") {
            item.problem = "";
            item.path = path;
            const value = parsed(item);
            if (!isObject(value)) item.problem ||= "Conditions are an object of attributes.";
            return value ?? blank();
        }
        return this.document([item], path);
    }

    clause(held, path) {
        const rows = [...held.values()];
        if (rows.length === 1 && rows[0].op === "$eq" && !isObject(rows[0].value)) {
            rows[0].path = path;
            return rows[0].value;
        }
        return this.ofOperators(rows, path);
    }

    ofOperators(items, path) {
        const operators = blank();
        for (const item of items) {
            item.problem = "";
            if (item.kind === "json") {
                const value = parsed(item);
                item.path = path;
                if (!isObject(value)) item.problem ||= "Give an object of operators.";
                else if (Object.keys(value).some((name) => name in operators)) item.problem = REPEATED;
                else Object.assign(operators, value);
                continue;
            }
            const op = item.kind === "group" ? "$not" : item.op;
            item.path = `${path}.${op}`;
            if (op in operators) item.problem = REPEATED;
            else if (item.kind === "group") operators[op] = this.ofOperators(item.items, item.path);
            else operators[op] = item.nested ? this.nested(item, item.path) : item.value;
        }
        return operators;
    }

    nested(item, path) {
        item.nested.path = path;
        if (item.nested.scope === "value") return this.ofOperators(item.nested.items, path);
        const document = this.document(item.nested.items, path);
        // Any object meets a list without conditions; without any list it would be refused.
        if (!Object.keys(document).length && item.nested.items.length) return pair("$and", []);
        // What reads like operators would be taken for operators of the element itself.
        if (!this.areOperators(document)) return document;
        return pair("$and", [this.document(item.nested.items, `${path}.$and[0]`)]);
    }
}

const REPEATED = "This operator stands here already.";

function at(item, path) {
    item.path = path;
    return item;
}

function parsed(item) {
    try {
        return JSON.parse(item.text);
    } catch (error) {
        item.problem = `This is not JSON: ${error.message}`;
        return undefined;
    }
}
