"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const themes = ["auto", "dark", "light"];
  const remembered = (value) => {
    try {  // a page from a folder may not be allowed to remember anything
      if (value !== undefined) localStorage.setItem("synthct-theme", value);
      return localStorage.getItem("synthct-theme");
    } catch { return null; }
  };
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    if (button) { button.textContent = `Colours: ${theme}`; button.dataset.now = theme; }
  };
  show(themes.includes(remembered()) ? remembered() : "auto");
  if (button) button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
    show(next);
    remembered(next);
  });

  const number = (cell) => (cell.dataset.value === undefined || cell.dataset.value === "" ? NaN : Number(cell.dataset.value));
  const sort = (table, index, heading) => {
    const text = heading.dataset.kind === "text";
    const rising = heading.getAttribute("aria-sort") === null
      ? heading.dataset.first !== "descending"
      : heading.getAttribute("aria-sort") !== "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({
      row, key: text ? row.cells[index].textContent.trim().toLowerCase() : number(row.cells[index]),
    }));
    rows.sort((a, b) => {
      if (text) return rising ? a.key.localeCompare(b.key, "en", { numeric: true }) : b.key.localeCompare(a.key, "en", { numeric: true });
      if (Number.isNaN(a.key) || Number.isNaN(b.key)) return Number.isNaN(a.key) - Number.isNaN(b.key);  // no value: last
      return rising ? a.key - b.key : b.key - a.key;
    });
    body.append(...rows.map((each) => each.row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, index) => {
      const handle = heading.querySelector("button");
      if (handle) handle.addEventListener("click", () => sort(table, index, heading));
    });
  }
})();
