// A click or Enter on a column name sorts its table: numbers in descending order, names in
// ascending order. A second click reverses the order.
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const text = head.classList.contains('text');
      const previous = head.getAttribute('aria-sort');
      const ascending = previous ? previous === 'descending' : text;
      const value = (row) => row.cells[column].dataset.value;
      const compare = text
        ? (a, b) => value(a).localeCompare(value(b))
        : (a, b) => value(a) - value(b);
      const rows = [...table.tBodies[0].rows].sort((a, b) => (ascending ? 1 : -1) * compare(a, b));
      table.tBodies[0].append(...rows);
      heads.forEach((other) => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
    };
    head.firstElementChild.addEventListener('click', sort);
    head.firstElementChild.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') sort();
    });
  });
}
