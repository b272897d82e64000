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

for (const output of all("output[for=ttl_seconds]")) {
  const field = document.getElementById("ttl_seconds");
  const showDate = () => {
    const at = new Date(Date.now() + Number(field.value) * 1000);
    const counts = /^[1-9]\d*$/.test(field.value.trim()) && !Number.isNaN(at.getTime());
    output.textContent = counts ? `Expires ${at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}.` : "";
  };
  field.addEventListener("input", showDate);
  showDate();
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
  for (const row of rows) row.addEventListener("change", () => (box.checked = rows.every((each) => each.checked)));
}
