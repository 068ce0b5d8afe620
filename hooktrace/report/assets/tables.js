// Tables that are sorted by a click on a heading; a third click restores the given order.

export function sortable(table, report) {
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const now = head.getAttribute("aria-sort");
      const next = now === null ? "descending" : now === "descending" ? "ascending" : null;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      table.classList.toggle("sorted", next !== null);
      table.tBodies[0].append(...arranged(rows, column, next, head.classList.contains("n")));
    };
    head.tabIndex = 0;
    head.setAttribute("role", "columnheader");
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort();
    });
  });
  report.on("cursor", (event) => {
    const name = report.calls.get(event.call)?.name;
    for (const row of rows) {
      if (row.dataset.module === undefined) continue;
      row.classList.toggle("current", name !== undefined && row.dataset.module === name);
    }
  });
}

function arranged(rows, column, order, numeric) {
  if (!order) return rows;
  const key = (row) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    return numeric ? Number.parseFloat(text.replaceAll(",", "")) || 0 : text;
  };
  const sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => (numeric ? a - b : a.localeCompare(b));
  return [...rows].sort((a, b) => sign * compare(key(a), key(b)));
}
