// How is the page built? From elements and text nodes only: no name can become markup.
import { money_places, money_to } from "./format.js";

/** An element: `h("button", { class: "quiet", onclick: f }, "Text", child)`. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "width") element.style.setProperty("--part", value);
    else if (key === "colour") element.style.setProperty("--colour", value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set a text only where it is another one, so that a screen reader and the selection stay undisturbed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

let numbers = 0;
export function unique(prefix) {
  numbers += 1;
  return `${prefix}-${numbers}`;
}

/** A section with a heading, which is its name for a screen reader too. */
export function panel(title, attributes = {}, ...children) {
  const id = unique("panel");
  const { tools, ...rest } = attributes;
  const head = h("div", { class: "head" }, h("h2", { id }, title), tools);
  return h("section", { ...rest, class: `panel ${rest.class || ""}`, "aria-labelledby": id }, head, ...children);
}

/**
 * A table whose rows are filled and filled again without being replaced, so that focus and scrolling stay.
 * A column is { title, text(row) or money(row) or node(row, cell), number, title_of(row), state(row), lacks(row) }; all
 * amounts have equally many digits. `open(row)` makes rows clickable.
 */
export class Table {
  constructor(label, columns, { open, empty = "Nothing here.", className = "" } = {}) {
    this.columns = columns;
    this.open = open;
    this.rows = [];
    const heads = columns.map((column) =>
      h("th", { scope: "col", class: cell_class(column), title: column.help }, column.head || column.title));
    this.body = h("tbody");
    this.foot = h("tfoot");
    this.table = h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, heads)), this.body, this.foot);
    this.empty = h("p", { class: "empty", hidden: true }, empty); // nothing is known yet
    this.element = h("div", { class: `scroll ${className}`, tabindex: "0", role: "region", "aria-label": `${label}, table` },
      this.table, this.empty);
    if (open) {
      this.body.addEventListener("click", (event) => this._click(event));
      this.body.addEventListener("keydown", (event) => this._key(event));
    }
  }

  fill(rows, total = null) {
    this.rows = rows;
    const amounts = this.columns.filter((column) => column.money);
    const places = money_places([...rows, ...(total ? [total] : [])].flatMap((row) => amounts.map((column) => column.money(row))));
    for (const column of amounts) {
      column.text = (row) => money_to(column.money(row), places) + (column.money(row) !== null && column.lacks?.(row) ? "*" : "");
    }
    while (this.body.rows.length > rows.length) this.body.deleteRow(-1);
    rows.forEach((row, index) => this._fill(this.body.rows[index] || this._add(this.body), row));
    if (total) this._fill(this.foot.rows[0] || this._add(this.foot), total);
    else this.foot.replaceChildren();
    this.empty.hidden = rows.length > 0;
    this.table.hidden = rows.length === 0;
  }

  _add(part) {
    const line = h("tr", { tabindex: this.open && part === this.body ? "0" : undefined });
    this.columns.forEach((column, index) =>
      line.append(h(index === 0 ? "th" : "td", { scope: index === 0 ? "row" : undefined, class: cell_class(column) })));
    part.append(line);
    return line;
  }

  _fill(line, row) {
    this.columns.forEach((column, index) => {
      const cell = line.cells[index];
      if (column.node) column.node(row, cell);
      else setText(cell, column.text(row));
      if (column.title_of) cell.title = column.title_of(row) || "";
      if (column.state) cell.dataset.state = column.state(row) || "";
    });
  }

  _click(event) {
    if (event.target.closest("a, button, input, label")) return;
    const line = event.target.closest("tr");
    if (line && !String(getSelection())) this.open(this.rows[line.sectionRowIndex]);
  }

  _key(event) {
    if (event.key !== "Enter" || event.target.tagName !== "TR") return;
    event.preventDefault();
    this.open(this.rows[event.target.sectionRowIndex]);
  }
}

function cell_class(column) {
  return [column.number || column.money ? "number" : "", column.wide ? "wide" : "", column.className || ""].join(" ").trim() || undefined;
}

/** A choice of a few: buttons of which one is pressed. */
export class Choice {
  constructor(label, options, pick) {
    this.buttons = Object.entries(options).map(([value, text]) =>
      h("button", { type: "button", value, "aria-pressed": "false", onclick: () => pick(value) }, text));
    this.element = h("div", { class: "choice", role: "group", "aria-label": label }, this.buttons);
  }

  set(value) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.value === value));
  }
}

/** A choice of many. */
export class Select {
  constructor(label, options, pick) {
    this.select = h("select", { onchange: () => pick(this.select.value) });
    this.element = h("label", { class: "select" }, h("span", {}, label), this.select);
    this.options(options);
  }

  options(options) {
    const wanted = JSON.stringify(options);
    if (this.known === wanted) return;
    this.known = wanted;
    const value = this.select.value;
    replace(this.select, Object.entries(options).map(([key, text]) => h("option", { value: key }, text)));
    if (Object.hasOwn(options, value)) this.select.value = value;
  }

  set(value) {
    if (![...this.select.options].some((option) => option.value === value)) {
      this.select.append(h("option", { value }, value));
    }
    if (this.select.value !== value) this.select.value = value;
  }
}

/** More characters than a card on a phone has room for in its usual size. */
const LONG = 9;
const VAST = 13;

/** A number with its name, and what stands beside it. */
export class Card {
  constructor(title, help) {
    const id = unique("card");
    this.value = h("div", { class: "value" });
    this.notes = h("div", { class: "notes" });
    this.element = h("div", { class: "card", role: "group", "aria-labelledby": id },
      h("div", { id, class: "title", title: help }, title), this.value, this.notes);
  }

  set(value, notes = [], { title, warn, is_name } = {}) {
    if (this.value.textContent !== value) {
      const is_first = this.value.textContent === "";
      this.value.textContent = value;
      if (!is_first) flash(this.value);
    }
    this.value.title = title || "";
    this.value.classList.toggle("text", Boolean(is_name));
    this.value.classList.toggle("long", value.length > LONG);
    this.value.classList.toggle("vast", value.length > VAST);
    setText(this.notes, notes.filter(Boolean).join(" \u00b7 "));
    this.element.classList.toggle("warn", Boolean(warn));
  }
}

function flash(element) {
  element.classList.remove("flash");
  requestAnimationFrame(() => element.classList.add("flash"));
}
