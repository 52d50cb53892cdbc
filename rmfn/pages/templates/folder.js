"use strict";
/* The page of a folder: sorted by a heading, filtered by name. */
(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const number = (text) => (text !== "" && !Number.isNaN(Number(text)) ? Number(text) : null);

  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const down = heading.ariaSort === "ascending" || (heading.ariaSort === null && column > 0);
    headings.forEach((one) => one.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.value;
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = number(x) !== null && number(y) !== null ? number(x) - number(y) : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows);
  }));

  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("count").textContent = wanted ? `${shown} of ${rows.length}` : "";
  });
})();
