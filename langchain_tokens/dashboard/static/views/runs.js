// What happened in one run? All runs, then one of them: where its tokens and its money went, place by place.
import { get } from "../api.js";
import { Chart, METRICS, colours, shown, tree_chart } from "../charts.js";
import { INPUT_PARTS, call_columns } from "../details.js";
import { Card, Choice, Table, h, panel, setText } from "../dom.js";
import { cost_of, count, duration, money, moment, name, percent, plural, without_price, zone_name } from "../format.js";
import { end_of_list, more_of, pages } from "./paging.js";


export function make(page) {
  const element = h("div", { class: "view" });
  let shown_view = null;

  async function load(filters, signal) {
    const id = page.state().id || null;
    if (!shown_view || shown_view.id !== id) {
      if (shown_view) shown_view.close();
      shown_view = id ? one(page, id) : many(page);
      element.replaceChildren(shown_view.element);
    }
    await shown_view.load(filters, signal);
  }

  return { element, load, close: () => shown_view && shown_view.close() };
}

function many(page) {
  let extra = 0;
  let last = null;
  const table = new Table("Runs", [
    { title: "Run", text: (run) => name(run.name), className: "names" },
    { title: `Started (${zone_name()})`, text: (run) => moment(run.started_at) },
    { title: "Session", text: (run) => name(run.session), className: "names" },
    { title: "Mode", text: (run) => name(run.mode), className: "names" },
    { title: "Calls", number: true, text: (run) => count(run.calls) },
    { title: "Failed", number: true, text: (run) => count(run.failed_calls) },
    { title: "Tokens", number: true, text: (run) => count(run.total_tokens) },
    { title: "Cost", money: cost_of, title_of: without_price, lacks: without_price, help: "* without the calls that have no price" },
    { title: "Duration", number: true, text: (run) => duration(run.duration_ms) },
    { title: "Status", text: (run) => run.status, state: (run) => run.status, title_of: (run) => run.error_message },
  ], { open: (run) => page.go({ id: run.run_id }), empty: "No runs began in this range." });
  const more = h("button", { type: "button", onclick: () => next() }, "Load more");
  const end = end_of_list();

  async function load(filters, signal) {
    const asked = JSON.stringify([page.state().filters, page.state().range]);
    if (asked !== last) extra = 0;
    last = asked;
    const found = await get("runs", filters, { limit: pages(extra) }, signal);
    table.fill(found.runs);
    more_of(more, end, found.runs.length, found.next);
  }

  function next() {
    extra += 1;
    return page.refresh();
  }

  const element = panel("Runs", {}, h("p", { class: "hint" }, "A run is one invocation of a chain or graph, with everything below it. Newest first."), table.element, more, end);
  return { id: null, element, load, close: () => {} };
}

function one(page, id) {
  const title = h("h2", {});
  const facts = h("p", { class: "summary" });
  const cards = {
    calls: new Card("Calls"), tokens: new Card("Tokens"), cost: new Card("Cost"), duration: new Card("Duration"),
    wasted: new Card("Wasted", "Cost of failed, cancelled and repeated calls"),
  };
  const back = h("a", { href: page.link({ id: undefined }) }, "\u2190 All runs");
  back.addEventListener("click", (event) => page.follow(event, { id: undefined }));
  const metrics = new Choice("Number", { total_tokens: "Tokens", cost_usd: "Cost" }, (value) => page.go({ metric: value }));
  const kinds = new Choice("Kind of chart", { sunburst: "Sunburst", treemap: "Treemap" }, (value) => page.go({ kind: value }));
  const chart = new Chart("Where it went", { height: "round" });
  const places = new Table("Places", [
    { title: "Place", node: place_cell, className: "names" },
    { title: "Calls", number: true, text: (row) => count(row.node.subtree.calls) },
    { title: "Tokens", number: true, text: (row) => count(row.node.subtree.total_tokens) },
    { title: "Share", number: true, text: (row) => percent(row.node.subtree.share) },
    { title: "Cost", money: (row) => cost_of(row.node.subtree), lacks: (row) => without_price(row.node.subtree) },
    { title: "Own tokens", number: true, text: (row) => count(row.node.own.total_tokens) },
    { title: "Own cost", money: (row) => cost_of(row.node.own), lacks: (row) => without_price(row.node.own) },
  ], {});
  const calls = new Table("Calls of this run", call_columns(), { open: (call) => page.go({ call: call.call_id }), empty: "No call of it is stored." });
  const inputs = new Table("What fills the inputs", [
    { title: "Chain", text: (row) => name(row.chain, "chain"), className: "names" },
    { title: "Calls", number: true, text: (row) => count(row.calls) },
    { title: "Input", number: true, text: (row) => count(row.total) },
    ...Object.entries(INPUT_PARTS).map(([key, text]) => ({ title: text, number: true, text: (row) => percent(row.parts[key] / row.total), title_of: (row) => `${count(row.parts[key])} tokens` })),
  ], {});
  const filled = panel("What fills the inputs", {}, h("p", { class: "hint" }, "An estimate, scaled to the input that was counted; of the calls that were inspected."), inputs.element);
  const element = h("div", {}, h("p", {}, back), title, facts,
    h("div", { class: "cards" }, Object.values(cards).map((card) => card.element)),
    h("div", { class: "grid uneven" },
      panel("Places", { tools: h("div", { class: "tools" }, metrics.element) }, places.element),
      panel("Where it went", { tools: h("div", { class: "tools" }, kinds.element) }, chart.element)),
    filled,
    panel("Calls, in their order", {}, calls.element));

  async function load(_, signal) {
    const found = await get(`runs/${encodeURIComponent(id)}`, {}, {}, signal);
    const { run, total, tree } = found;
    const metric = page.state().metric === "cost_usd" ? "cost_usd" : "total_tokens";
    const kind = page.state().kind === "treemap" ? "treemap" : "sunburst";
    metrics.set(metric);
    kinds.set(kind);
    setText(title, `Run ${name(run.name)}`);
    setText(facts, [`${run.status}${run.error_message ? `: ${run.error_message}` : ""}`, `${moment(run.started_at)} ${zone_name()}`,
      run.session === null ? "" : `session ${run.session}`, run.mode === null ? "" : `mode ${run.mode}`, run.run_id].filter(Boolean).join(" \u00b7 "));
    cards.calls.set(count(total.calls), [`${count(total.failed_calls)} failed`], { warn: total.failed_calls > 0 });
    cards.tokens.set(count(total.total_tokens), [`${count(total.input_tokens)} in`, `${count(total.output_tokens)} out`]);
    cards.cost.set(money(cost_of(total)), [total.unpriced_calls ? `${plural(total.unpriced_calls, "call")} without a price` : ""], { warn: total.unpriced_calls > 0 });
    cards.duration.set(duration(run.duration_ms), []);
    cards.wasted.set(money(total.wasted_cost_usd), []);
    const rows = flattened(tree, metric);
    places.fill(rows);
    chart.set(tree_chart({ roots: roots_of(tree, metric), metric, kind }), `${METRICS[metric]}: ${shown(metric, total[metric])} in all`);
    const shares = input_shares(found.calls);
    inputs.fill(shares);
    filled.hidden = shares.length === 0;
    calls.fill(found.calls);
  }

  return { id, element, load, close: () => chart.close() };
}

/** What fills the inputs of each chain's calls, as far as they were inspected; the largest first. */
function input_shares(calls) {
  const found = new Map();
  for (const { chain, input_parts: parts } of calls) {
    if (!parts) continue;
    const row = found.get(chain) || { chain, calls: 0, total: 0, parts: Object.fromEntries(Object.keys(INPUT_PARTS).map((key) => [key, 0])) };
    row.calls += 1;
    for (const key of Object.keys(INPUT_PARTS)) {
      row.parts[key] += parts[key] || 0;
      row.total += parts[key] || 0;
    }
    found.set(chain, row);
  }
  return [...found.values()].filter((row) => row.total > 0).sort((one, other) => other.total - one.total);
}

function place_cell(row, cell) {
  let label = cell.firstChild;
  if (!label) {
    label = h("span", { class: "name" }, h("span", { class: "fill", "aria-hidden": "true" }), h("span", { class: "text" }));
    cell.append(label);
  }
  label.style.setProperty("--depth", row.depth);
  label.firstChild.style.setProperty("--part", `${row.part * 100}%`);
  label.title = row.node.path.map((each) => name(each, "chain")).join(" \u203a ");
  setText(label.lastChild, row.depth === 0 ? name(row.node.name ?? "(run)") : name(row.node.name, "chain"));
}

/** The places from the root down, each before the places in it. */
function flattened(tree, metric) {
  const most = Number(tree.subtree[metric] || 0);
  const rows = [];
  const add = (node, depth) => {
    rows.push({ node, depth, part: most > 0 ? Number(node.subtree[metric] || 0) / most : 0 });
    node.children.forEach((child) => add(child, depth + 1));
  };
  add(tree, 0);
  return rows;
}

/** The same for a chart; what a place used itself is a part of its own, where there are places below it. */
export function roots_of(tree, metric) {
  const made = (node) => {
    const text = name(node.name, "chain");
    const children = node.children.map(made).filter((child) => child.value > 0);
    const own = Number(node.own[metric] || 0);
    if (children.length && own > 0) children.push({ name: `${text} itself`, value: own });
    return { name: text, value: Number(node.subtree[metric] || 0), ...(children.length ? { children } : {}) };
  };
  const roots = tree.children.map(made).filter((child) => child.value > 0);
  const own = Number(tree.own[metric] || 0);
  if (own > 0) roots.push({ name: name(tree.name ?? "(run)"), value: own });
  return roots.map((root) => ({ ...root, colour: colours.of("place", root.name) }));
}
