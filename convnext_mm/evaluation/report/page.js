// --- tables: a click or Enter on a column name sorts the table, numbers in descending order, names
// in ascending order. A second click reverses the order.
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
// On a phone each row is a card, with the name of its column before each value.
for (const table of document.querySelectorAll('table.cards')) {
  const names = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, column) => (cell.dataset.name = names[column]));
  }
}

// --- images

const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? 'null');
const settings = read('filters');
const PAGE = { pairs: 12, maps: 12, crops: 24, samples: 24 }; // images until "Show more"

function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  Object.assign(element, attributes);
  element.append(...children);
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const className = (shape) => settings.classes[shape[0]];
const style = (kind) => (['found', 'missed', 'correct', 'crowd'].includes(kind) ? kind : 'wrong');

// A shape is a list: class, kind, score (0 for an object), box, and the outline of its mask.
function drawShape(shape) {
  const [, kind, score, [x, y, width, height], outline] = shape;
  const text = settings.kinds[kind] ? `wrong: ${settings.kinds[kind]}` : kind;
  const title = `${className(shape)}${settings.colours ? '' : `, ${text}`}${score ? `, score ${score.toFixed(2)}` : ''}`;
  const box = { x, y, width, height };
  const parts = outline
    ? [
        svg('path', { class: 'halo', d: outline }),
        svg('path', { class: `shape ${style(kind)}`, 'fill-rule': 'evenodd', d: outline }),
        svg('rect', { class: `shape frame ${style(kind)}`, ...box }),
      ]
    : [
        svg('rect', { class: 'halo', ...box }),
        svg('rect', { class: `shape ${style(kind)}`, ...box }),
      ];
  const group = svg('g', {}, svg('title', {}, title), ...parts);
  const colour = settings.colours?.[shape[0]];
  for (const part of colour ? group.querySelectorAll('.shape') : []) {
    part.style.fill = part.style.stroke = colour;
  }
  return group;
}

// Names are placed above their boxes, below them or inside, without overlap. A name without a free
// place is only in the tooltip.
function placeNames(shapes, [width, height], size) {
  const taken = [];
  const names = [];
  for (const shape of [...shapes].reverse()) {
    const [, , score, [left, top, , boxHeight]] = shape;
    const name = settings.classes.length > 1 ? className(shape) : '';
    const text = `${name} ${score ? score.toFixed(2) : ''}`.trim();
    const length = 0.6 * size * text.length;
    const x = Math.max(0, Math.min(Math.max(left, 0.2 * size), width - length));
    const places = [top - 0.3 * size, top + boxHeight + 1.1 * size, top + 1.1 * size];
    const y = places.find(
      (at) =>
        at >= size &&
        at <= height - 0.2 * size &&
        taken.every(([a, b, other]) => Math.abs(at - other) > 1.1 * size || x + length < a || x > b),
    );
    if (!text || y === undefined) continue;
    taken.push([x, x + length, y]);
    names.push(svg('text', { class: 'name', 'font-size': size.toFixed(1), x, y }, text));
  }
  return names;
}

function drawPane(item, index, large) {
  const [width, height] = item.size;
  const gap = width / 40;
  const pane = svg('svg', { x: index * (width + gap), width, height });
  const photo = { href: item.src, width, height };
  if (item.panes) {
    const small = item.kind ? 18 : item.panes.length > 1 ? 26 : 32; // a crop, a pair, one image
    const letters = Math.max(width, height) / (large ? 45 : small);
    const shapes = item.panes[index];
    pane.append(svg('image', photo), ...shapes.map(drawShape));
    // More names would hide a small image.
    if (large || shapes.length <= 14) pane.append(...placeNames(shapes, item.size, letters));
  } else {
    pane.append(svg('image', index ? { ...photo, class: 'grey' } : photo));
    if (index) pane.append(svg('image', { ...photo, href: item.maps[index - 1], opacity: 0.65 }));
  }
  return pane;
}

function drawItem(item, large = false) {
  const panes = item.panes ? item.panes.length : item.maps.length + 1;
  const [width, height] = item.size;
  const total = width * panes + (width / 40) * (panes - 1);
  const image = svg('svg', { viewBox: `0 0 ${total} ${height}`, role: 'img', 'aria-label': item.name });
  for (let index = 0; index < panes; index++) image.append(drawPane(item, index, large));
  const caption = html('figcaption', {}, html('b', { textContent: item.name }), ` ${item.caption}`);
  const named = (item.classes ?? []).filter((label) => settings.colours[label] !== 'transparent');
  if (named.length) caption.append(html('div', {}, ...named.slice(0, large ? 99 : 6).map(colourKey)));
  return html('figure', {}, image, caption);
}

function colourKey(label) {
  const sample = html('i');
  sample.style.background = settings.colours[label];
  return html('span', { className: 'key' }, sample, settings.classes[label]);
}

const dialog = document.getElementById('enlarged');
let opened = { items: [], index: 0 };

function enlarge(items, index) {
  opened = { items, index };
  const close = html('button', { type: 'button', textContent: '×', className: 'close' });
  close.setAttribute('aria-label', 'Close');
  dialog.replaceChildren(close, drawItem(items[index], true));
  if (!dialog.open) dialog.showModal();
}
dialog.addEventListener('click', () => dialog.close());
dialog.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const index = opened.index + step;
  if (opened.items[index]) enlarge(opened.items, index);
});

// --- filters

function choice(name, options, changed) {
  const select = html('select');
  for (const [value, text] of options) select.append(html('option', { value, textContent: text }));
  select.addEventListener('change', changed);
  return [html('label', {}, `${name} `, select), () => select.value];
}

function setUp(name, items, layout) {
  const element = (part) => document.getElementById(`${name}-${part}`);
  const controls = [];
  let shown = PAGE[layout];
  const add = (control) => {
    controls.push(control[0]);
    return control[1];
  };
  const changed = () => {
    shown = PAGE[layout];
    show();
  };
  const classes = settings.classes.map((text, label) => [label, text]);
  let label = () => '';
  if (classes.length > 1) {
    classes.sort((a, b) => a[1].localeCompare(b[1]));
    label = add(choice('class', [['', 'all'], ...classes], changed));
  }
  let kind = () => '';
  if (layout === 'crops') {
    const kinds = [...new Set(items.map((item) => item.kind))];
    kind = add(choice('kind', [['', 'all'], ...kinds.map((k) => [k, k])], changed));
  } else if (layout === 'pairs') {
    const kinds = Object.entries(settings.kinds).map(([key, text]) => [key, text]);
    const options = [['', 'all'], ['error', 'any error'], ...kinds];
    kind = add(choice('error', options, changed));
  }
  let least = () => 0;
  if (layout === 'pairs') {
    const low = Math.floor(100 * Math.min(settings.threshold, 1)) / 100;
    const slider = html('input', { type: 'range', min: low, max: 1, step: 0.01, value: low });
    const output = html('output', { textContent: low.toFixed(2) });
    slider.addEventListener('input', () => {
      output.textContent = Number(slider.value).toFixed(2);
      changed();
    });
    controls.push(html('label', {}, 'score from ', slider, ' ', output));
    least = () => (slider.value > low + 0.005 ? Number(slider.value) : 0);
  }
  let order = () => 'worst';
  if (layout === 'pairs' || layout === 'maps') {
    const orders = [['worst', 'worst first'], ['best', 'best first'], ['name', 'by name']];
    order = add(choice('order', orders, changed));
  }

  // Objects have no score, so the slider hides detections only.
  const visible = (shape) => !shape[2] || shape[2] >= least();
  const isKind = (shape, wanted) =>
    wanted === 'error'
      ? !['found', 'correct'].includes(shape[1])
      : shape[1] === (wanted === 'Miss' ? 'missed' : wanted);
  function matches(item) {
    if (item.kind && kind() && item.kind !== kind()) return false;
    if (item.classes) return label() === '' || item.classes.includes(Number(label()));
    return item.panes.flat().some(
      (shape) =>
        visible(shape) &&
        (label() === '' || shape[0] === Number(label())) &&
        (item.kind || !kind() || isKind(shape, kind())) &&
        (!least() || shape[2] || kind()),
    );
  }

  function show() {
    const filtered = label() !== '' || kind() || least();
    let chosen = filtered ? items.filter(matches) : [...items];
    if (least()) {
      chosen = chosen.map((item) => ({ ...item, panes: item.panes.map((p) => p.filter(visible)) }));
    }
    if (order() === 'best') chosen.sort((a, b) => b.rank - a.rank);
    if (order() === 'name') chosen.sort((a, b) => a.name.localeCompare(b.name));
    element('gallery').replaceChildren(
      ...chosen.slice(0, shown).map((item, index) => {
        const figure = drawItem(item);
        const button = html('button', { type: 'button', className: 'open' }, figure.firstChild);
        button.setAttribute('aria-label', `Enlarge ${item.name}`);
        button.addEventListener('click', () => enlarge(chosen, index));
        figure.prepend(button);
        return figure;
      }),
    );
    const number = (n) => n.toLocaleString('en');
    element('count').textContent = `${number(Math.min(shown, chosen.length))} of ${number(chosen.length)} shown`;
    element('more').hidden = chosen.length <= shown;
  }
  element('more').addEventListener('click', () => {
    shown += 4 * PAGE[layout];
    show();
  });
  element('filters').replaceChildren(...controls);
  element('filters').addEventListener('submit', (event) => event.preventDefault());
  show();
}

for (const name of ['labels', 'images', 'samples']) {
  const items = read(`${name}-data`);
  const layout = (gallery) => [...gallery.classList].find((c) => c in PAGE);
  if (items) setUp(name, items, layout(document.getElementById(`${name}-gallery`)));
}
