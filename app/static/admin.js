// Progressive enhancement: every page works without this script.

const all = (selector) => document.querySelectorAll(selector);

// navigator.clipboard does not exist on plain HTTP, which is common in home networks.
async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    field.focus();
    field.select();
    return document.execCommand("copy");
  }
}

for (const button of all("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    const copied = await copy(field);
    if (copied) button.focus();
    document.querySelector(".copied").textContent = copied
      ? "Copied."
      : "The browser refused to copy. The text is selected: press Ctrl+C.";
  });
}

for (const field of all("[readonly]")) {
  field.addEventListener("focus", () => field.select());
  if (field === document.activeElement) field.select();
}

for (const time of all("time")) {
  time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
}

// Escape or a click elsewhere closes an open confirmation.
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector("details.ask[open]");
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});

document.addEventListener("click", (event) => {
  for (const ask of all("details.ask[open]")) if (!ask.contains(event.target)) ask.open = false;
});

// Overview: in a chart, the pointer and the arrow keys show one period after another.
for (const chart of all("figure.chart")) {
  const periods = [...chart.querySelectorAll(".at")], output = chart.querySelector("output");
  let at = periods.length;
  const show = (next) => {
    periods[at]?.classList.remove("shown");
    at = Math.min(Math.max(next, 0), periods.length - 1);
    periods[at].classList.add("shown");
    output.textContent = periods[at].textContent;
  };
  const plot = chart.querySelector(".plot");
  plot.tabIndex = 0;
  plot.role = "img";
  plot.ariaHidden = null;
  plot.ariaLabel = `${chart.ariaLabel}; the arrow keys read it out`;
  const moves = { ArrowLeft: () => at - 1, ArrowRight: () => at + 1, Home: () => 0, End: () => Infinity };
  plot.addEventListener("keydown", (event) => {
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]());
  });
  periods.forEach((period, number) => period.addEventListener("pointerenter", () => show(number)));
}

// Table: "/" focuses the search, and one box checks all tokens on the page.
document.addEventListener("keydown", (event) => {
  const field = document.getElementById("q");
  const isTyping = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping || !field) return;
  event.preventDefault();
  field.focus();
  field.select();
});

// A proxy may have changed the scheme and the port that the service saw.
for (const field of all("[data-origin]")) field.value = field.value.replace(/https?:\/\/[^/]+/, location.origin);

for (const label of all("[data-all]")) {
  const box = label.querySelector("input");
  const rows = [...all("[name=token][form=bulk]")];
  label.hidden = rows.length === 0;
  box.addEventListener("change", () => rows.forEach((row) => (row.checked = box.checked)));
  const checked = () => rows.filter((row) => row.checked).map((row) => row.value);
  const keep = () => history.replaceState({ checked: checked() }, "");
  const follow = () => { box.checked = rows.every((each) => each.checked); };
  for (const row of rows) row.checked = history.state?.checked?.includes(row.value) ?? false;
  follow();
  for (const row of rows) row.addEventListener("change", follow);
  for (const each of [box, ...rows]) each.addEventListener("change", keep);
}

// A second click before the page changes would send the form again; it may after a while, in case loading was stopped.
for (const form of all("form[method=post]")) {
  const buttons = [...form.elements].filter((each) => each.type === "submit");
  const disable = (disabled) => buttons.forEach((button) => { button.disabled = disabled; });
  form.addEventListener("submit", () => {
    setTimeout(() => disable(true));
    setTimeout(() => disable(false), 10_000);
  });
  addEventListener("pageshow", () => disable(false));
}

// The form of a token: hosts are checked, the summary is rewritten and a date is shown in both zones as one types.
for (const opens of all("#opens")) {
  const { words, most, end, ...rate } = JSON.parse(opens.dataset.live);
  const form = opens.closest("form");
  const field = (name) => form.elements[name];
  const fill = (text, ...values) => values.reduce((filled, value) => filled.replace("{}", () => value), text);
  const list = (name) => [...new Set(field(name).value.split(/[,\s]+/).filter(Boolean))];
  const listed = (items) => items.length > most
    ? fill(words.more, items.slice(0, most).join(", "), items.length - most)
    : items.length > 1 ? fill(words.and, items.slice(0, -1).join(", "), items.at(-1)) : items.join();
  const number = (name) => /^\d{1,13}$/.test(field(name).value.trim()) ? Number(field(name).value) : undefined;
  const grouped = (value) => value.toLocaleString("en-US");
  const requests = (value) => fill(words[value === 1 ? "request" : "requests"], grouped(value));
  const part = (word, ...values) => values[0] ? fill(words[word], ...values) : "";

  // The name in ASCII, as browsers and the server write it.
  function hostname(name) {
    try {
      return new URL(`http://${name}`).hostname.replace(/\.$/, "");
    } catch {
      return "";
    }
  }

  // The host as the server stores it, or what is wrong with it; the server decides.
  function read(text) {
    const name = text.replace(/^\*\./, "");
    if (text === "*") return { host: text };
    if (text.includes("/")) return { problem: "write the host alone, without https:// and path" };
    if (name.includes("*")) return { problem: "a * may only stand alone or lead, as *.example.com" };
    if (/^[^:]+:\d*$/.test(name)) return { problem: "leave out the port" };
    const host = hostname(name);
    const labels = host.split(".");
    const isSame = !/^[\x00-\x7f]*$/.test(name) || host === name.toLowerCase().replace(/\.$/, "");
    const isName = labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
    return isSame && (isName || /^\[.*\]$/.test(host)) ? { host: text.replace(name, host) } : { problem: "not a host name" };
  }

  function moment(text) {
    const parts = /^(\d{4}-\d\d-\d\d)(?:[t ](\d\d:\d\d(?::\d\d)?)(z|[+-]\d\d:\d\d)?)?$/i.exec(text.trim());
    const at = parts ? new Date(`${parts[1]}T${parts[2] ?? "00:00"}${(parts[3] ?? "Z").toUpperCase()}`) : NaN;
    return Number.isNaN(Number(at)) ? null : at;
  }
  const utc = (at) => at ? `${at.toISOString().slice(0, 16).replace("T", " ")} UTC` : "";

  function summary() {
    const hosts = [...new Set(list("hosts").map((text) => read(text).host).filter(Boolean))];
    if (!hosts.length) return words.nothing;
    const paths = list("paths").filter((path) => path.startsWith("/"));
    const [below, exact] = [true, false].map((ends) => listed(paths.filter((path) => path.endsWith("/*") === ends)
      .map((path) => path.replace(/\*$/, ""))));
    const max = number("rate_limit_max") ?? rate.max, window = number("rate_limit_window_sec") || rate.window;
    const quota = number("quota_max"), period = field("quota_period").value, ttl = number("ttl_seconds");
    const ends = moment(field("expires_at").value)
      ?? (ttl === undefined ? moment(end) : ttl ? new Date(Date.now() + ttl * 1000) : null);
    return part("hosts", hosts.includes("*") ? words.any : listed(hosts))
      + part("methods", listed(list("methods").map((method) => method.toUpperCase())))
      + (exact && below ? fill(words.at_and_below, exact, below) : part("at", exact) + part("below", below))
      + part("networks", listed(list("networks")))
      + (max ? fill(words[window === 1 ? "second" : "seconds"], requests(max), grouped(window)) : words.unlimited)
      + (quota && period ? fill(words[period], requests(quota)) : "")
      + part("from", utc(moment(field("not_before").value)))
      + (ends ? fill(words.until, utc(ends)) : words.endless);
  }

  const local = document.getElementById("local-end");
  local.parentElement.hidden = false;
  local.parentElement.querySelector("[data-zone]").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const showLocal = () => {
    const at = moment(field("expires_at").value);
    local.value = at ? new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16) : "";
  };
  const show = () => {
    const bad = list("hosts").map((text) => [text, read(text).problem]).find(([, problem]) => problem);
    document.getElementById("check").textContent = bad ? `${bad[0]}: ${bad[1]}` : "";
    opens.textContent = summary();
  };
  form.addEventListener("input", ({ target }) => {
    if (target === local) field("expires_at").value = local.value ? `${new Date(local.value).toISOString().slice(0, 16)}Z` : "";
    if (target.name === "ttl_seconds" && target.value) field("expires_at").value = "";
    if ((target === local || target.name === "expires_at") && target.value) field("ttl_seconds").value = "";
    if (target !== local) showLocal();
    show();
  });
  showLocal();
  // When one comes back to the page, the browser has filled in again what was typed.
  addEventListener("pageshow", () => {
    if (performance.getEntriesByType("navigation")[0]?.type !== "back_forward") return;
    for (const fold of form.querySelectorAll("details")) {
      fold.open ||= [...fold.querySelectorAll("input, textarea")].some((each) => each.value);
    }
    showLocal();
    show();
  });
}

// The page with a new secret asks before it is left, until the secret was copied, by a button or by hand.
for (const secret of all("#new-token")) {
  const ask = (event) => event.preventDefault();
  const stop = () => removeEventListener("beforeunload", ask);
  addEventListener("beforeunload", ask);
  document.addEventListener("copy", stop);
  secret.addEventListener("click", stop);
  for (const button of all("[data-copy]")) button.addEventListener("click", stop);
}
