// What is there to know at a glance?
import { get } from "../api.js";
import { call_columns } from "../details.js";
import { Card, Table, h, panel, setText } from "../dom.js";
import { change, cost_of, count, money, moment, name, percent, plural, zone_name } from "../format.js";
import { TimePanel } from "./timepanel.js";
import { Breakdown } from "./breakdown.js";

const DIMENSIONS = ["mode", "model", "agent", "chain"];
const LATEST = 10;

export function make(page) {
  const cards = {
    calls: new Card("Calls", "Calls to models"),
    tokens: new Card("Tokens", "Input and output together"),
    cost: new Card("Cost", "US dollars, of the calls whose price is known"),
    run: new Card("Average per run", "Tokens of all calls for each run that began in this range"),
    thousand: new Card("Cost per 1K tokens", "Over the calls whose price and tokens are known"),
    dearest: new Card("Most expensive model", "With the largest cost"),
    used: new Card("Most used model", "With the most calls"),
    saved: new Card("Saved by caches", "What answers from caches, and reads from providers' caches, would have cost"),
    wasted: new Card("Wasted", "Cost of failed, cancelled and repeated calls"),
    sessions: new Card("Sessions"),
  };
  const notes = h("p", { class: "gaps", role: "note", hidden: true });
  const time = new TimePanel(page, "Over time");
  const lists = DIMENSIONS.map((dimension) => new Breakdown(page, dimension));
  const latest = new Table("Latest calls", call_columns(), { open: (call) => page.go({ call: call.call_id }), empty: "No calls." });
  const hint = h("div", { class: "panel start", hidden: true });
  const all = h("div", {}, h("div", { class: "cards" }, Object.values(cards).map((card) => card.element)), notes,
    time.element, h("div", { class: "grid" }, lists.map((list) => list.element)),
    panel("Latest calls", {}, latest.element));
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Overview"), hint, all);

  async function load(filters, signal) {
    const others = Promise.all([
      time.ask(filters, signal),
      ...lists.map((list) => list.ask(filters, signal)),
      get("calls", filters, { limit: LATEST }, signal),
    ]);
    others.catch(() => {}); // the first to fail is told below; the others are not lost, they are the same
    const found = await get("overview", filters, {}, signal);
    const is_empty = found.total.calls === 0;
    show_start(page, hint, all, is_empty);
    fill(cards, notes, found);
    const [, ...rest] = await others;
    time.show();
    lists.forEach((list, index) => list.show(rest[index], page.state().metric));
    latest.fill(rest.at(-1).calls);
  }

  return { element, load, close: () => time.close() };
}

function fill(cards, notes, found) {
  const { total, previous } = found;
  const before = (key) => {
    const text = previous && change(total[key], previous[key]);
    return text ? `${text} against before` : "";
  };
  cards.calls.set(count(total.calls), [
    `${count(total.failed_calls)} failed`, total.cached_calls ? `${count(total.cached_calls)} from cache` : "",
    `${percent(total.success_rate)} ok`, before("calls")]);
  const cached = total.cache_read_tokens === null || !total.input_tokens ? "" : `${percent(total.cache_read_tokens / total.input_tokens)} of input cached`;
  cards.tokens.set(count(total.total_tokens), [
    `${count(total.input_tokens)} in`, `${count(total.output_tokens)} out`, cached,
    total.reasoning_tokens ? `${count(total.reasoning_tokens)} reasoning` : "", before("total_tokens")]);
  cards.cost.set(money(cost_of(total)), [
    total.unpriced_calls ? `${plural(total.unpriced_calls, "call")} without a price` : "", before("cost_usd")],
  { title: total.cost_usd ? `${total.cost_usd} USD` : "", warn: total.unpriced_calls > 0 });
  cards.run.set(count(found.tokens_per_run), [`${money(found.cost_per_run_usd)} a run`, `${count(found.runs)} runs`]);
  cards.thousand.set(money(found.cost_per_1k_tokens_usd), []);
  const dearest = found.most_expensive_model;
  cards.dearest.set(dearest ? name(dearest.model) : "\u2014", dearest ? [money(dearest.cost_usd)] : [], { is_name: true });
  const used = found.most_used_model;
  cards.used.set(used ? name(used.model) : "\u2014", used ? [plural(used.calls, "call")] : [], { is_name: true });
  cards.saved.set(money(total.saved_cost_usd), [total.cache_read_tokens ? `${count(total.cache_read_tokens)} cached tokens` : ""]);
  cards.wasted.set(money(total.wasted_cost_usd), []);
  cards.sessions.set(count(found.sessions), [total.duration_ms === null ? "" : `${count(total.tokens_per_second, 1)} tokens/s`]);
  const gaps = [
    [total.calls_without_usage, "without complete usage: their tokens are not in these sums"],
    [total.unpriced_calls, "without a price: their cost is not in these sums"],
    [total.estimated_calls, "with estimated tokens"],
  ].filter(([number]) => number > 0).map(([number, text]) => `${count(number)} of ${plural(total.calls, "call")} ${text}`);
  setText(notes, gaps.join("; ") + (gaps.length ? "." : ""));
  notes.hidden = gaps.length === 0;
}

function show_start(page, hint, all, is_empty) {
  hint.hidden = !is_empty;
  all.hidden = is_empty;
  if (!is_empty) return;
  const status = page.status();
  if (status.calls === 0) {
    hint.replaceChildren(
      h("h2", {}, "No calls yet"),
      h("p", {}, "Pass the handler to a chain or a graph, and this page fills by itself:"),
      h("pre", {}, 'from langchain_tokens import TokenUsageHandler\n\nhandler = TokenUsageHandler()\ngraph.invoke({"question": "..."}, config={"callbacks": [handler]})'),
      h("p", {}, `This page reads ${status.database}.`));
    return;
  }
  const filters = Object.keys(page.state().filters);
  hint.replaceChildren(
    h("h2", {}, "No calls in this range"),
    h("p", {}, `The newest call is of ${moment(status.last_call_at)} ${zone_name()}; there are ${count(status.calls)} in all.`),
    h("div", { class: "actions" },
      h("button", { type: "button", class: "primary", onclick: () => page.go({ range: "all", from: undefined, to: undefined }) }, "Show all time"),
      filters.length ? h("button", { type: "button", onclick: () => page.go({ filters: Object.fromEntries(filters.map((key) => [key, null])) }) }, "Remove all filters") : null));
}
