// How do the numbers get out, and how do they go? Export of what is filtered, and deletion that names what goes.
import { address, change, get } from "../api.js";
import { h, panel, replace, setText } from "../dom.js";
import { cost_of, count, money, moment, plural, zone_name } from "../format.js";

const FORMATS = { csv: "CSV", json: "JSON", jsonl: "JSON Lines" };
const WORD = "delete";

export function make(page) {
  const scope = h("p", { class: "summary" });
  const downloads = Object.entries(FORMATS).map(([format, text]) => ({ format, link: h("a", { class: "button", download: true }, `Export ${text}`) }));
  const report = h("a", { class: "button", download: "token-usage.html" }, "Report as one HTML file");
  const clear = h("button", { type: "button", class: "danger", onclick: () => confirm(page) }, "Clear history\u2026");
  const facts = h("dl", { class: "facts" });
  const clearing = panel("Clear history", {},
    h("p", {}, "Deletes the calls of the range and filters above, for good. What goes is named before anything does."), clear);
  const element = h("div", { class: "view" }, h("h2", { class: "visually-hidden" }, "Data"),
    panel("Export", {}, h("p", {}, "Every call of the range and filters above, one row each, with its cost."), scope,
      h("div", { class: "actions" }, downloads.map((each) => each.link), report)),
    clearing,
    panel("Database", {}, facts),
    panel("For programs", {}, h("p", {}, "The same numbers as JSON: ", h("a", { href: "api" }, "the API"), "; for Prometheus: ", h("a", { href: "metrics" }, "metrics"), ".")));

  async function load(filters, signal) {
    const found = await get("breakdown", filters, {}, signal);
    setText(scope, `${plural(found.total.calls, "call")} \u00b7 ${count(found.total.total_tokens)} tokens \u00b7 ${money(cost_of(found.total))}`);
    for (const { format, link } of downloads) link.href = address("export", filters, { format });
    report.href = address("report", { ...filters, tz: undefined }); // a report counts in UTC
    const status = page.status();
    clearing.hidden = status.is_read_only;
    replace(facts, [
      ["Database", status.database], ["Calls", count(status.calls)], [`First call (${zone_name()})`, moment(status.first_call_at)],
      [`Last call (${zone_name()})`, moment(status.last_call_at)], ["Version", status.version],
    ].map(([head, text]) => h("div", {}, h("dt", {}, head), h("dd", {}, text))));
  }

  return { element, load, close: () => {}, needs_status: true };
}

/** Ask what would go, say it, and delete exactly that. */
async function confirm(page) {
  const dialog = document.getElementById("dialog");
  const filters = page.asked();
  const found = await get("history", filters);
  const word = h("input", { name: "word", autocomplete: "off", required: true, pattern: WORD, "aria-describedby": "what-goes" });
  const remove = h("button", { type: "submit", class: "danger", disabled: true }, `Delete ${plural(found.calls, "call")}`);
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  word.addEventListener("input", () => (remove.disabled = word.value.trim() !== WORD || found.calls === 0));
  const submit = async (event) => {
    event.preventDefault();
    remove.disabled = true;
    try {
      const done = await change("DELETE", "history", { ...filters, since: found.since, until: found.until }, { confirm: found.calls });
      dialog.close();
      page.say(`${plural(done.calls, "call")} deleted.`);
      await page.refresh();
    } catch (error) {
      setText(problem, error.message);
      problem.hidden = false;
    }
  };
  replace(dialog,
    h("h2", { id: "dialog-title" }, "Clear history"),
    h("form", { class: "form", onsubmit: submit },
      h("div", { id: "what-goes" }, h("p", {}, "This goes, and does not come back:"), h("ul", {}, lines(found, filters).map((line) => h("li", {}, line)))),
      h("label", {}, `Type \u201c${WORD}\u201d to go on`, word), problem,
      h("div", { class: "actions" }, remove, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
  dialog.dataset.kind = "history";
  dialog.onclose = null;
  dialog.showModal();
  word.focus();
}

function lines(found, filters) {
  const names = Object.entries(filters).filter(([key]) => !["since", "until", "tz"].includes(key))
    .map(([key, values]) => `${key} ${values.join(" or ")}`);
  return [
    `${plural(found.calls, "call")}${names.length ? ` with ${names.join(", ")}` : ""}`,
    `${count(found.runs)} runs and ${count(found.sessions)} sessions have such calls`,
    `${count(found.total_tokens)} tokens and ${money(found.cost_usd)}`,
    found.first_call_at ? `from ${moment(found.first_call_at)} to ${moment(found.last_call_at)} ${zone_name()}` : "no call",
    `nothing that starts after ${moment(found.until)} ${zone_name()}${found.since ? ` or before ${moment(found.since)} ${zone_name()}` : ""}`,
  ];
}
