// Whose are they? The largest names of one dimension; a click narrows the page to one of them.
import { get } from "../api.js";
import { METRICS, shown } from "../charts.js";
import { Table, h, panel, setText } from "../dom.js";
import { cost_of, count, name, percent, without_price } from "../format.js";
import { ranked } from "../series.js";

const SHOWN = 6;
const ASKED = 200;
export const TITLES = {
  mode: "By mode", model: "By model", agent: "By agent", chain: "By chain", session: "By session", user: "By user",
  provider: "By provider", status: "By status",
};

/** A cell with the name as a button and, behind it, the part as a bar. */
export function name_cell(dimension, pick) {
  return (row, cell) => {
    let button = cell.firstChild;
    if (!button) {
      button = h("button", { type: "button", class: "name" }, h("span", { class: "fill", "aria-hidden": "true" }), h("span", { class: "text" }));
      button.addEventListener("click", () => pick(button.value_of));
      cell.append(button);
    }
    const text = name(row[dimension], dimension);
    button.value_of = row[dimension];
    button.title = text;
    button.firstChild.style.setProperty("--part", `${(row.part || 0) * 100}%`);
    setText(button.lastChild, text);
  };
}

export class Breakdown {
  constructor(page, dimension, { metric } = {}) {
    this.page = page;
    this.dimension = dimension;
    this.fixed = metric;
    const pick = (value) => page.drill(dimension, value, { view: "explore" });
    this.table = new Table(TITLES[dimension], [
      { title: dimension, head: dimension, node: name_cell(dimension, pick), className: "names" },
      { title: "Tokens", number: true, text: (row) => count(row.total_tokens) },
      { title: "Share", number: true, text: (row) => percent(row.share) },
      { title: "Cost", money: cost_of, title_of: without_price, lacks: without_price, help: "* without the calls that have no price" },
    ], { empty: "Nothing in this range." });
    this.more = h("a", {});
    this.more.addEventListener("click", (event) => page.follow(event, { view: "explore", by: dimension }));
    this.element = panel(TITLES[dimension], { tools: this.more }, this.table.element);
  }

  ask(filters, signal) {
    return get("breakdown", filters, { by: this.dimension, limit: ASKED }, signal);
  }

  show(found, metric) {
    const wanted = this.fixed || (Object.hasOwn(METRICS, metric) ? metric : "total_tokens");
    const rows = ranked(found.rows, wanted);
    const left = rows.length - SHOWN;
    this.table.fill(rows.slice(0, SHOWN));
    this.more.href = this.page.link({ view: "explore", by: this.dimension });
    const others = `${left}${rows.length < ASKED ? "" : " or"} more`;
    setText(this.more, left > 0 ? `+${others}` : "Explore");
    this.more.setAttribute("aria-label", `${TITLES[this.dimension]}: ${left > 0 ? others : "explore"}, ${METRICS[wanted]} ${shown(wanted, found.total[wanted])}`);
  }
}
