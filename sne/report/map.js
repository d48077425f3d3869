// The script of the map page. Names and values come from files: they enter the page as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const n = data.count;
  const byId = (id) => document.getElementById(id);

  // ---- data

  function unpack([type, text]) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new window[type](bytes.buffer);
  }

  const x = unpack(data.x), y = unpack(data.y);
  const heads = data.names.heads, head = unpack(data.names.head), tails = data.names.tails;
  const nameOf = (row) => heads[head[row]] + tails[row];
  const nextTo = unpack(data.nextTo.rows);
  const columns = data.columns.map((column, number) => {
    if (column.values) return { ...column, number, codes: unpack(column.codes), isNumber: false };
    const values = unpack(column.numbers);
    let low = Infinity, high = -Infinity, least = Infinity;
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
      if (value > 0) least = Math.min(least, value);
    }
    const isLog = low > 0 && high / low > 200;
    const low90 = column.low && unpack(column.low), high90 = column.high && unpack(column.high);
    return { ...column, number, numbers: values, isNumber: true, low, high, isLog, low90, high90 };
  });
  const domain = data.domain >= 0 ? columns[data.domain] : null;
  const parentOf = new Map(), childrenOf = new Map();
  data.edges.forEach(([parent, child, relation, confidence, other]) => {
    parentOf.set(child, { row: parent, relation, confidence, other });
    for (const row of other === null ? [parent] : [parent, other]) {
      if (!childrenOf.has(row)) childrenOf.set(row, []);
      childrenOf.get(row).push({ row: child, relation, confidence });
    }
  });

  const place = (column, value) => column.isLog
    ? Math.log(value / column.low) / Math.log(column.high / column.low)
    : (value - column.low) / (column.high - column.low || 1);
  const valueAt = (column, share) => column.isLog
    ? column.low * (column.high / column.low) ** share
    : column.low + share * (column.high - column.low);
  const isOutside = (row) => domain !== null && domain.values[domain.codes[row] - 1] === "no";

  function written(value, digits = 4) {
    if (value === undefined || value === null || !Number.isFinite(value)) return "–";
    if (Number.isInteger(value)) return Math.abs(value) < 1e12 ? value.toLocaleString("en") : value.toExponential(2);
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e6 ? String(+value.toPrecision(digits)) : value.toExponential(digits > 2 ? 2 : 0);
  }

  function textOf(column, row) {
    const text = column.isNumber ? written(column.numbers[row]) : column.values[column.codes[row] - 1] ?? "–";
    return column.predicted && isOutside(row) ? `(${text})` : text;
  }

  function isKnown(column, row) {
    return column.isNumber ? Number.isFinite(column.numbers[row]) : column.codes[row] > 0;
  }

  // ---- colours

  const SCALE = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const STEPS = 48;
  let theme = {};

  function readTheme() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    const isDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const kinds = [1, 2, 3, 4, 5, 6, 7].map((kind) => get(`--kind-${kind}`));
    theme = {
      paper: get("--paper"), ink: get("--ink"), soft: get("--soft"), line: get("--line"), accent: get("--accent"),
      other: get("--kind-8"), kinds, isDark, ramp: ramp(isDark ? 0.12 : 0, isDark ? 1 : 0.92),
    };
    coloursOf.clear();
  }

  function ramp(from, to) {
    const part = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    return Array.from({ length: STEPS }, (_, step) => {
      const at = (from + ((to - from) * step) / (STEPS - 1)) * (SCALE.length - 1);
      const i = Math.min(Math.floor(at), SCALE.length - 2), share = at - i;
      return `rgb(${[0, 1, 2].map((c) => Math.round(part(SCALE[i], c) * (1 - share) + part(SCALE[i + 1], c) * share)).join(",")})`;
    });
  }

  const coloursOf = new Map();

  function colouring(column) {
    if (coloursOf.has(column)) return coloursOf.get(column);
    const colours = new Array(n);
    let legend = [];
    if (!column) {
      colours.fill(theme.accent);
    } else if (column.isNumber) {
      for (let row = 0; row < n; row++) {
        const value = column.numbers[row];
        colours[row] = Number.isFinite(value) ? theme.ramp[Math.round(place(column, value) * (STEPS - 1))] : theme.line;
      }
    } else {
      const counts = new Array(column.values.length + 1).fill(0);
      for (const code of column.codes) counts[code]++;
      const codes = column.values.map((_, i) => i + 1).sort((a, b) => counts[b] - counts[a] || a - b);
      const many = codes.length > theme.kinds.length + 1 ? theme.kinds.length : codes.length;
      const colourOf = new Array(counts.length).fill(theme.other);
      codes.slice(0, many).forEach((code, i) => { colourOf[code] = theme.kinds[i] ?? theme.other; });
      colourOf[0] = theme.line;
      for (let row = 0; row < n; row++) colours[row] = colourOf[column.codes[row]];
      legend = codes.slice(0, many).map((code) => ({ codes: [code], text: column.values[code - 1], colour: colourOf[code], count: counts[code] }));
      const rest = codes.slice(many);
      if (rest.length) {
        const count = rest.reduce((sum, code) => sum + counts[code], 0);
        legend.push({ codes: rest, text: `${rest.length} others`, colour: theme.other, count });
      }
      if (counts[0]) legend.push({ codes: [0], text: "not known", colour: theme.line, count: counts[0] });
    }
    const found = { colours, legend };
    coloursOf.set(column, found);
    return found;
  }

  // ---- state: which networks are lit

  const state = {
    colour: columns[data.colour] ?? null, size: null, across: null, up: null,
    filters: new Map(), query: "", group: null, current: -1,
  };

  function passing() {
    const lit = new Uint8Array(n).fill(1);
    for (const [column, filter] of state.filters) {
      if (column.isNumber) {
        const { from, to, isWhole } = filter;
        if (isWhole) continue;
        for (let row = 0; row < n; row++) {
          const value = column.numbers[row];
          if (!(value >= from && value <= to)) lit[row] = 0;
        }
      } else {
        for (let row = 0; row < n; row++) if (filter.hidden.has(column.codes[row])) lit[row] = 0;
      }
    }
    if (state.query) {
      const words = state.query.split(/\s+/).map((word) => matching(word));
      for (let row = 0; row < n; row++) if (!words.every((match) => match(row))) lit[row] = 0;
    }
    return lit;
  }

  const lowered = tails.map((tail) => tail.toLowerCase());
  const loweredHeads = heads.map((text) => text.toLowerCase());

  function matching(word) {
    const inHead = loweredHeads.map((text) => text.includes(word));
    const inValues = columns.filter((column) => !column.isNumber).map((column) => {
      const found = [false, ...column.values.map((value) => value.toLowerCase().includes(word))];
      return found.includes(true) ? { codes: column.codes, found } : null;
    }).filter((one) => one !== null);
    return (row) => lowered[row].includes(word) || inHead[head[row]] || inValues.some((one) => one.found[one.codes[row]]);
  }

  function litRows() {
    const lit = passing();
    if (state.group) for (let row = 0; row < n; row++) lit[row] &= state.group[row];
    return lit;
  }

  // ---- drawing

  const hasGl = (() => {
    try {
      return document.createElement("canvas").getContext("webgl") !== null;
    } catch {
      return false;
    }
  })();
  const POINTS = hasGl ? "scattergl" : "scatter";
  const RADIUS = n < 100 ? 11 : n < 1000 ? 8 : n < 6000 ? 6 : 4;
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const map = byId("map"), scatter = byId("scatter");
  const isTouch = window.matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false, responsive: true, scrollZoom: !isTouch, displayModeBar: true,
    modeBarButtonsToRemove: ["sendChartToCloud", "downloadJson", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { format: "png", scale: 3, filename: "map" },
  };

  function sizes(rows) {
    const column = state.size;
    if (!column) return RADIUS;
    const found = new Float32Array(rows.length);
    for (let i = 0; i < rows.length; i++) {
      const value = column.numbers[rows[i]];
      found[i] = Number.isFinite(value) ? RADIUS * (0.5 + 2 * Math.sqrt(Math.max(0, place(column, value)))) : RADIUS * 0.5;
    }
    return found;
  }

  function pointTraces(ofX, ofY, isShown, lit) {
    let many = 0, few = 0;
    for (let row = 0; row < n; row++) if (isShown(row)) { if (lit[row]) many++; else few++; }
    const shown = new Int32Array(many), faded = new Int32Array(few);
    many = few = 0;
    for (let row = 0; row < n; row++) if (isShown(row)) { if (lit[row]) shown[many++] = row; else faded[few++] = row; }
    const pick = (values, rows) => Float64Array.from(rows, (row) => values[row]);
    const { colours } = colouring(state.colour);
    const plain = { marker: { opacity: 1 } };
    const traces = [
      {
        type: POINTS, mode: "markers", x: pick(ofX, faded), y: pick(ofY, faded), hoverinfo: "skip",
        marker: { color: theme.soft, size: Math.max(3, RADIUS * 0.6), opacity: theme.isDark ? 0.22 : 0.16, line: { width: 0 } },
        rows: faded, unselected: { marker: { opacity: 0.16 } },
      },
      {
        type: POINTS, mode: "markers", x: pick(ofX, shown), y: pick(ofY, shown), hoverinfo: "none",
        marker: {
          color: Array.from(shown, (row) => colours[row]), size: sizes(shown), opacity: n < 6000 ? 0.85 : 0.7,
          line: { width: n < 1000 ? 0.75 : 0, color: theme.paper },
        },
        rows: shown, selected: plain, unselected: plain,
      },
    ];
    if (state.current >= 0 && isShown(state.current)) {
      traces.push({
        type: POINTS, mode: "markers", x: [ofX[state.current]], y: [ofY[state.current]], hoverinfo: "skip",
        marker: { color: "rgba(0,0,0,0)", size: RADIUS + 10, line: { width: 2.5, color: theme.ink } },
        unselected: plain,
      });
    }
    return traces;
  }

  const KINDS = [...new Set(data.edges.map(([, , relation]) => relation))];
  const kindColour = (relation) => theme.kinds[KINDS.indexOf(relation) % theme.kinds.length];

  function edgeTraces(lit) {
    if (!data.edges.length || !byId("lineage").checked) return [];
    const traces = [];
    for (const kind of KINDS) {
      const lineX = [], lineY = [], arrowX = [], arrowY = [], angles = [];
      for (const [parent, child, relation, , other] of data.edges) {
        if (relation !== kind || !lit[child]) continue;
        for (const from of other === null ? [parent] : [parent, other]) {
          if (!lit[from]) continue;
          lineX.push(x[from], x[child], null);
          lineY.push(y[from], y[child], null);
          arrowX.push(x[from] + 0.6 * (x[child] - x[from]));
          arrowY.push(y[from] + 0.6 * (y[child] - y[from]));
          angles.push((Math.atan2(x[child] - x[from], y[child] - y[from]) * 180) / Math.PI);
        }
      }
      if (!lineX.length) continue;
      const colour = kindColour(kind);
      const quiet = { hoverinfo: "skip", type: POINTS, unselected: { marker: { opacity: 1 } } };
      traces.push(
        { ...quiet, mode: "lines", x: lineX, y: lineY, line: { color: colour, width: 1.25 }, opacity: 0.75 },
        { ...quiet, mode: "markers", x: arrowX, y: arrowY, marker: { symbol: "triangle-up", size: 8, color: colour, angle: angles, line: { width: 0 } } },
      );
    }
    return traces;
  }

  function densityTrace() {
    const { at, inside } = data.density;
    const flat = unpack(inside), z = at.map((_, row) => Array.from(flat.subarray(row * at.length, (row + 1) * at.length)));
    return {
      type: "contour", x: at, y: at, z, hoverinfo: "skip", showscale: false, autocontour: false,
      contours: { coloring: "fill", start: 51, end: 204, size: 51 },
      colorscale: [[0, theme.paper], [0.01, theme.paper], [1, theme.isDark ? "#2f3a48" : "#d3deec"]], zmin: 0, zmax: 255,
      line: { width: 0.8, color: theme.line, smoothing: 1.2 },
    };
  }
  let density = null;

  function axis(title, column) {
    return {
      title: { text: title, font: { size: 12 }, standoff: 4 }, zeroline: false, gridcolor: theme.line, linecolor: theme.line,
      tickfont: { size: 11 }, type: column && column.isLog ? "log" : "linear", automargin: true, nticks: 6,
    };
  }

  const bare = { visible: false, showgrid: false, zeroline: false };
  const layoutOf = (more) => ({
    paper_bgcolor: theme.paper, plot_bgcolor: theme.paper, font: { color: theme.ink, size: 12 }, showlegend: false,
    margin: { l: 0, r: 0, t: 0, b: 0 }, dragmode: isTouch ? false : "pan", hovermode: "closest", hoverdistance: 12,
    selections: [], newselection: { line: { color: theme.accent, width: 1.5 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.soft, activecolor: theme.accent }, uirevision: "same", ...more,
  });

  function drawMap(lit) {
    const traces = [];
    if (byId("density").checked) traces.push((density ??= densityTrace()));
    traces.push(...edgeTraces(lit), ...pointTraces(x, y, () => true, lit));
    const layout = layoutOf({
      xaxis: { ...bare, range: [-1.12, 1.12] }, yaxis: { ...bare, range: [-1.12, 1.12], scaleanchor: "x" },
      annotations: labels(), dragmode: map.layout ? map.layout.dragmode : isTouch ? false : "pan",
    });
    return Plotly.react(map, traces, layout, config);
  }

  function labels() {
    const box = byId("labels");
    if (!box || !box.checked || !data.clusters.length) return [];
    const full = map._fullLayout;
    const axes = full && full.xaxis && full.xaxis._length ? [full.xaxis, full.yaxis] : null;
    const width = map.clientWidth, height = map.clientHeight;
    const scale = Math.min(width, height) / 2.24;
    const toPixel = axes
      ? (cluster) => [axes[0].l2p(cluster.x), axes[1].l2p(cluster.y)]
      : (cluster) => [width / 2 + cluster.x * scale, height / 2 - cluster.y * scale];
    const places = data.clusters.map((cluster) => {
      const [px, peak] = toPixel(cluster);
      return { px, peak, reach: peak - toPixel({ x: cluster.x, y: cluster.y + reachOf(cluster) })[1] };
    });
    // A label would hide a small cluster, and takes its clicks: it stands above its own, or else below, and on no other.
    const isSmall = ({ reach }) => reach < 40;
    const small = places.filter(isSmall).map(({ px, peak, reach }) => [px, peak, 0.7 * reach, 0.7 * reach]);
    const taken = [], shown = [];
    data.clusters.forEach((cluster, number) => {
      if (!cluster.label) return;
      const lines = wrapped(cluster.label), { px, peak, reach } = places[number];
      const half = [3.6 * Math.max(...lines.map((line) => line.length)) + 6, 8 * lines.length];
      const inside = Math.max(Math.min(px, width - half[0]), half[0]) - px; // the whole label is in the map
      const shift = Math.abs(inside) < half[0] ? inside : 0;
      const isFree = (lift, boxes) => !boxes.some(([ox, oy, ow, oh]) =>
        Math.abs(px + shift - ox) < half[0] + ow && Math.abs(peak - lift - oy) < half[1] + oh);
      const beside = reach + half[1] + 7;
      const lift = isSmall(places[number])
        ? [beside, -beside].find((one) => (one < 0 || peak - one >= half[1]) && isFree(one, taken) && isFree(one, small))
        : [0].find((one) => isFree(one, taken));
      if (lift === undefined) return;
      taken.push([px + shift, peak - lift, ...half]);
      shown.push({
        x: cluster.x, y: cluster.y, xshift: shift, yshift: lift, text: lines.map(escaped).join("<br>"), showarrow: false, captureevents: true,
        font: { size: 12, color: theme.ink }, bgcolor: theme.paper, opacity: 0.88, borderpad: 2, name: String(number),
        hovertext: "Select this cluster",
      });
    });
    return shown;
  }

  // The height above the peak of a cluster, in the units of the map, below which 98% of its networks lie.
  function reachOf(cluster) {
    if (cluster.reach === undefined) {
      const above = Float64Array.from(unpack(cluster.rows), (row) => y[row] - cluster.y).sort();
      cluster.reach = Math.max(above[Math.floor(0.98 * (above.length - 1))], 0);
    }
    return cluster.reach;
  }

  function wrapped(label) {
    const lines = [""];
    for (const word of label.split(" ")) {
      const last = lines[lines.length - 1];
      if (last && last.length + word.length > 26) lines.push(word);
      else lines[lines.length - 1] = last ? `${last} ${word}` : word;
    }
    return lines.map((line) => (line.length > 40 ? `${line.slice(0, 39)}…` : line));
  }

  function drawScatter(lit) {
    const { across, up } = state;
    if (!across || !up) return;
    const traces = pointTraces(across.numbers, up.numbers, (row) => Number.isFinite(across.numbers[row]) && Number.isFinite(up.numbers[row]), lit);
    const isPair = data.pairs.some(([one, other]) => one === across.number && other === up.number);
    if (isPair) {
      const ends = [Math.min(across.low, up.low), Math.max(across.high, up.high)];
      traces.unshift({ type: POINTS, mode: "lines", x: ends, y: ends, hoverinfo: "skip", line: { color: theme.soft, width: 1.25, dash: "dot" } });
    }
    const layout = layoutOf({
      margin: { l: 52, r: 10, t: 26, b: 40 }, dragmode: scatter.layout ? scatter.layout.dragmode : isTouch ? false : "select",
      xaxis: axis(escaped(isPair ? `measured ${across.name}` : across.name), across), yaxis: axis(escaped(up.name), up),
      uirevision: `${across.number} ${up.number}`,
    });
    byId("figures").textContent = isPair ? agreement(across, up, lit) : "";
    return Plotly.react(scatter, traces, layout, { ...config, scrollZoom: false });
  }

  function agreement(measured, predicted, lit) {
    let count = 0, sum = 0, squares = 0, wrong = 0, error = 0;
    for (let row = 0; row < n; row++) {
      const one = measured.numbers[row], other = predicted.numbers[row];
      if (!lit[row] || !Number.isFinite(one) || !Number.isFinite(other)) continue;
      count++;
      sum += one;
      squares += one * one;
      wrong += (one - other) ** 2;
      error += Math.abs(one - other);
    }
    if (!count) return "None of the networks shown has both values.";
    const spread = squares - (sum * sum) / count;
    const r2 = count > 2 && spread > 0 ? `, R² ${(1 - wrong / spread).toFixed(3)}` : "";
    return `${count.toLocaleString("en")} networks shown: mean absolute error ${written(error / count)}${r2}`;
  }

  // ---- legend

  function drawLegend() {
    const box = byId("legend"), column = state.colour;
    box.replaceChildren();
    if (column && column.isNumber && Number.isFinite(column.low)) {
      const bar = create("span", "ramp");
      bar.style.background = `linear-gradient(to right, ${theme.ramp.filter((_, i) => i % 4 === 0).join(",")})`;
      box.append(create("span", "soft", column.name), written(column.low), bar, written(column.high), column.isLog ? create("span", "soft", "logarithmic") : "");
    } else if (column && !column.isNumber) {
      const hidden = state.filters.get(column)?.hidden;
      for (const entry of colouring(column).legend) {
        const button = create("button"), dot = create("span", "dot");
        dot.style.background = entry.colour;
        button.type = "button";
        button.setAttribute("aria-pressed", String(!entry.codes.some((code) => hidden?.has(code))));
        button.title = "Show or hide";
        button.append(dot, `${entry.text} `, create("span", "soft", entry.count.toLocaleString("en")));
        button.addEventListener("click", () => toggle(column, entry.codes));
        box.append(button);
      }
    }
    if (data.edges.length && byId("lineage").checked) {
      for (const kind of KINDS) {
        const entry = create("span"), line = create("span", "line");
        entry.style.cssText = "display:inline-flex;align-items:center;gap:0.35rem";
        line.style.background = kindColour(kind);
        entry.append(line, kind);
        box.append(entry);
      }
    }
  }

  function toggle(column, codes) {
    const filter = filterOf(column);
    const wasHidden = codes.some((code) => filter.hidden.has(code));
    codes.forEach((code) => (wasHidden ? filter.hidden.delete(code) : filter.hidden.add(code)));
    drawFilters();
    update();
  }

  function create(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // ---- filters

  function filterOf(column) {
    if (!state.filters.has(column)) {
      state.filters.set(column, column.isNumber ? { from: column.low, to: column.high, isWhole: true } : { hidden: new Set() });
    }
    return state.filters.get(column);
  }

  function drawFilters() {
    const box = byId("filters");
    box.replaceChildren();
    for (const [column, filter] of state.filters) {
      const field = create("fieldset"), legend = create("legend", "", `${column.name} `), remove = create("button", "link", "remove");
      remove.type = "button";
      remove.addEventListener("click", () => {
        state.filters.delete(column);
        drawFilters();
        update();
      });
      legend.append(remove);
      field.append(legend, ...(column.isNumber ? rangeFilter(column, filter) : valueFilter(column, filter)));
      box.append(field);
    }
  }

  function rangeFilter(column, filter) {
    const counts = new Array(32).fill(0);
    for (const value of column.numbers) if (Number.isFinite(value)) counts[Math.min(31, Math.floor(place(column, value) * 32))]++;
    const most = Math.max(...counts), bars = create("div", "bars"), ends = create("div", "ends");
    for (const count of counts) {
      const bar = create("i");
      bar.style.height = `${(100 * Math.sqrt(count / (most || 1))).toFixed(1)}%`;
      bars.append(bar);
    }
    const sliders = ["from", "to"].map((end) => {
      const slider = create("input");
      Object.assign(slider, { type: "range", min: 0, max: 1000, step: 1 });
      slider.value = Math.round(1000 * place(column, filter[end]));
      slider.setAttribute("aria-label", `${column.name}: ${end}`);
      return slider;
    });
    const say = () => ends.replaceChildren(create("span", "", written(filter.from)), create("span", "", written(filter.to)));
    const change = () => {
      const [from, to] = sliders.map((slider) => Number(slider.value));
      filter.isWhole = Math.min(from, to) === 0 && Math.max(from, to) === 1000;
      filter.from = Math.min(from, to) === 0 ? column.low : valueAt(column, Math.min(from, to) / 1000);
      filter.to = Math.max(from, to) === 1000 ? column.high : valueAt(column, Math.max(from, to) / 1000);
      say();
      update();
    };
    sliders.forEach((slider) => slider.addEventListener("input", change));
    say();
    return [bars, ...sliders, ends];
  }

  function valueFilter(column, filter) {
    const counts = new Array(column.values.length + 1).fill(0);
    for (const code of column.codes) counts[code]++;
    const codes = counts.map((_, code) => code).filter((code) => counts[code]).sort((a, b) => counts[b] - counts[a] || a - b);
    const box = create("div", "values"), all = create("button", "link", "all"), none = create("button", "link", "none");
    all.type = none.type = "button";
    all.addEventListener("click", () => { filter.hidden.clear(); drawFilters(); update(); });
    none.addEventListener("click", () => { codes.forEach((code) => filter.hidden.add(code)); drawFilters(); update(); });
    for (const code of codes.slice(0, 100)) {
      const label = create("label"), tick = create("input");
      tick.type = "checkbox";
      tick.checked = !filter.hidden.has(code);
      tick.addEventListener("change", () => {
        if (tick.checked) filter.hidden.delete(code);
        else filter.hidden.add(code);
        update();
      });
      label.append(tick, code ? column.values[code - 1] : "not known", create("span", "soft", counts[code].toLocaleString("en")));
      box.append(label);
    }
    if (codes.length > 100) box.append(create("div", "soft", `and ${(codes.length - 100).toLocaleString("en")} more: search for them`));
    const buttons = create("div", "ends");
    buttons.append(all, none);
    return [buttons, box];
  }

  // ---- the panel beside the map

  function link(row, more) {
    const item = create("li"), button = create("button", "link", tails[row]);
    button.type = "button";
    button.title = nameOf(row);
    button.addEventListener("click", () => choose(row));
    item.append(button);
    if (more) item.append(create("span", "soft", ` ${more}`));
    return item;
  }

  function list(title, items) {
    if (!items.length) return [];
    const box = create("ul");
    box.append(...items);
    return [create("h3", "", title), box];
  }

  function rowsTable(rows, names) {
    const table = create("table"), body = create("tbody");
    if (names) {
      const line = create("tr");
      names.forEach((name) => line.append(create("th", "", name)));
      const top = create("thead");
      top.append(line);
      table.append(top);
    }
    for (const cells of rows) {
      const line = create("tr");
      cells.forEach((cell) => line.append(create("td", "", cell)));
      body.append(line);
    }
    table.append(body);
    return table;
  }

  function showCard() {
    const box = byId("card"), row = state.current;
    box.replaceChildren();
    if (state.group) showGroup(box);
    if (row < 0) {
      if (!state.group) box.append(create("p", "soft", "Click a network to see its properties."));
      return;
    }
    box.append(create("h2", "", tails[row]));
    if (heads[head[row]]) box.append(create("div", "soft small", heads[head[row]]));
    if (data.summary >= 0 && isKnown(columns[data.summary], row)) box.append(create("p", "small", textOf(columns[data.summary], row)));
    const shown = new Set([data.summary]);
    const predictions = columns.filter((column) => column.predicted && isKnown(column, row)).map((column) => {
      const own = column.name.replace(/^predicted /, ""), measured = columns.find((other) => other.name === own);
      shown.add(column.number);
      if (measured) shown.add(measured.number);
      const interval = column.low90 && Number.isFinite(column.low90[row]) ? `${written(column.low90[row], 2)} to ${written(column.high90[row], 2)}` : "";
      return [own, measured ? textOf(measured, row) : "", textOf(column, row), interval];
    });
    if (predictions.length) {
      box.append(create("h3", "", isOutside(row) ? "Predictions (outside the known domain)" : "Predictions"));
      const kept = [0, 1, 2, 3].filter((cell) => cell === 0 || predictions.some((line) => line[cell] !== ""));
      const names = ["", "measured", "predicted", "90% interval"];
      box.append(rowsTable(predictions.map((line) => kept.map((cell) => line[cell])), kept.map((cell) => names[cell])));
    }
    const rest = columns.filter((column) => !shown.has(column.number) && isKnown(column, row));
    if (rest.length) box.append(create("h3", "", "Properties"), rowsTable(rest.map((column) => [column.name, textOf(column, row)])));
    const parent = parentOf.get(row);
    const sure = (edge) => `${edge.relation}${edge.confidence < 1 ? `, direction ${edge.confidence.toFixed(2)}` : ""}`;
    box.append(
      ...list("Made from", parent ? [link(parent.row, sure(parent)), ...(parent.other === null ? [] : [link(parent.other, "")])] : []),
      ...list("Made into", (childrenOf.get(row) ?? []).slice(0, 30).map((child) => link(child.row, sure(child)))),
      ...list("Most similar embeddings", Array.from(nextTo.subarray(row * data.nextTo.count, (row + 1) * data.nextTo.count), (other) => link(other))),
    );
  }

  function showGroup(box) {
    const rows = [];
    for (let row = 0; row < n; row++) if (state.group[row]) rows.push(row);
    const clear = create("button", "", "Clear the selection");
    clear.type = "button";
    clear.addEventListener("click", () => select(null));
    box.append(create("h2", "", `${rows.length.toLocaleString("en")} networks selected`), clear);
    const lines = [];
    for (const column of columns) {
      if (column.isNumber) {
        const values = rows.map((row) => column.numbers[row]).filter(Number.isFinite).sort((a, b) => a - b);
        if (values.length) lines.push([column.name, written(values[values.length >> 1]), `${written(values[0])} to ${written(values[values.length - 1])}`]);
      } else {
        const counts = new Map();
        for (const row of rows) if (column.codes[row]) counts.set(column.codes[row], (counts.get(column.codes[row]) ?? 0) + 1);
        const [best] = [...counts].sort((a, b) => b[1] - a[1]);
        if (best && (counts.size === 1 || best[1] > 1)) lines.push([column.name, column.values[best[0] - 1], `${Math.round((100 * best[1]) / rows.length)}%`]);
      }
    }
    box.append(rowsTable(lines, ["", "median or most frequent", "range or share"]));
  }

  // ---- what the user does

  function choose(row) {
    state.current = row;
    showCard();
    update();
  }

  function select(rows) {
    state.group = null;
    if (rows && rows.length) {
      state.group = new Uint8Array(n);
      for (const row of rows) state.group[row] = 1;
    }
    state.current = -1;
    showCard();
    update();
  }

  let isWaiting = false;

  function update() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(async () => {
      isWaiting = false;
      const start = performance.now(), lit = litRows();
      let count = 0;
      for (const one of lit) count += one;
      byId("count").textContent = count === n ? "" : `${count.toLocaleString("en")} of ${n.toLocaleString("en")} shown`;
      drawLegend();
      await Promise.all([drawMap(lit), drawScatter(lit)]);
      const root = document.documentElement.dataset; // read by tests and measurements
      root.drawn = (performance.now() - start).toFixed(1);
      root.draws = String(Number(root.draws ?? 0) + 1);
      root.ready ??= performance.now().toFixed(0);
    });
  }

  const rowOf = (point) => point.data.rows?.[point.pointNumber ?? point.pointIndex];

  function listen(plot, other, ofX, ofY) {
    plot.on("plotly_click", (event) => {
      const row = event.points.map(rowOf).find((found) => found !== undefined);
      if (row !== undefined) choose(row);
    });
    plot.on("plotly_selected", (event) => {
      if (event && event.points) select([...new Set(event.points.filter((point) => point.data.hoverinfo === "none").map(rowOf))]);
    });
    plot.on("plotly_deselect", () => select(null));
    plot.on("plotly_hover", (event) => {
      const row = event.points.map(rowOf).find((found) => found !== undefined);
      if (row !== undefined) showTip(row, event.event, other, ofX(row), ofY(row));
    });
    plot.on("plotly_unhover", hideTip);
  }

  const ring = create("div", "ring");

  function showTip(row, at, other, otherX, otherY) {
    const tip = byId("tip");
    const lines = [create("strong", "", tails[row])];
    const columnsShown = [state.colour, state.size, state.across, state.up].filter((column, i, all) => column && all.indexOf(column) === i);
    lines.push(...columnsShown.map((column) => create("div", "", `${column.name}: ${textOf(column, row)}`)));
    if (data.summary >= 0) lines.push(create("div", "soft", textOf(columns[data.summary], row)));
    tip.replaceChildren(...lines);
    tip.hidden = false;
    const { innerWidth, innerHeight } = window;
    tip.style.left = `${Math.max(4, Math.min(at.clientX + 14, innerWidth - tip.offsetWidth - 6))}px`;
    tip.style.top = `${Math.max(4, Math.min(at.clientY + 14, innerHeight - tip.offsetHeight - 6))}px`;
    const full = other._fullLayout;
    if (full && full.xaxis && Number.isFinite(otherX) && Number.isFinite(otherY)) {
      ring.style.left = `${full.xaxis._offset + full.xaxis.d2p(otherX)}px`;
      ring.style.top = `${full.yaxis._offset + full.yaxis.d2p(otherY)}px`;
      other.append(ring);
    }
  }

  function hideTip() {
    byId("tip").hidden = true;
    ring.remove();
  }

  function showHits() {
    const box = byId("hits");
    box.replaceChildren();
    box.hidden = !state.query;
    if (!state.query) return;
    const lit = litRows(), rows = [];
    let count = 0;
    for (let row = 0; row < n; row++) if (lit[row] && ++count <= 20) rows.push(row);
    box.append(create("div", "soft", `${count.toLocaleString("en")} of ${n.toLocaleString("en")} networks`));
    for (const row of rows) {
      const button = create("button", "link", tails[row]);
      button.type = "button";
      button.title = nameOf(row);
      button.addEventListener("click", () => { box.hidden = true; choose(row); });
      box.append(button);
    }
  }

  function fill(select, options, chosen) {
    select.replaceChildren(...options.map(([value, text]) => {
      const option = create("option", "", text);
      option.value = value;
      option.selected = value === chosen;
      return option;
    }));
  }

  function prepare() {
    const numeric = columns.filter((column) => column.isNumber && column.low < column.high);
    const isUseful = (column) => (column.isNumber ? column.low < column.high : column.values.length > 1 && column.values.length < Math.max(3, n) && column.number !== data.summary);
    const useful = columns.filter(isUseful), named = (some) => some.map((column) => [String(column.number), column.name]);
    fill(byId("colour"), [["", "none"], ...named(useful)], state.colour ? String(state.colour.number) : "");
    fill(byId("size"), [["", "same"], ...named(numeric)], "");
    fill(byId("add-filter"), [["", "add…"], ...named(useful)], "");
    const pair = data.pairs.find(([one, other]) => columns[one].low < columns[one].high && columns[other].low < columns[other].high);
    if (numeric.length > 1) {
      [state.across, state.up] = pair ? pair.map((number) => columns[number]) : [numeric[0], numeric[1]];
      fill(byId("across"), named(numeric), String(state.across.number));
      fill(byId("up"), named(numeric), String(state.up.number));
    } else {
      byId("beside").hidden = true;
    }
    for (const key of ["colour", "size", "across", "up"]) {
      byId(key).addEventListener("change", (event) => {
        state[key] = event.target.value === "" ? null : columns[Number(event.target.value)];
        update();
      });
    }
    byId("add-filter").addEventListener("change", (event) => {
      if (event.target.value !== "") filterOf(columns[Number(event.target.value)]);
      event.target.value = "";
      drawFilters();
      update();
    });
    for (const key of ["density", "labels", "lineage"]) byId(key)?.addEventListener("change", update);
    const search = byId("search");
    search.addEventListener("input", () => {
      state.query = search.value.trim().toLowerCase();
      state.group = null; // a search is among all networks
      showCard();
      showHits();
      update();
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") byId("hits").hidden = true;
      if (event.key === "Enter") byId("hits").querySelector("button")?.click();
    });
    search.addEventListener("focus", showHits);
    document.addEventListener("click", (event) => { if (!event.target.closest(".search")) byId("hits").hidden = true; });
    byId("reset").addEventListener("click", () => {
      Object.assign(state, { query: "", group: null, current: -1 });
      state.filters.clear();
      search.value = "";
      byId("hits").hidden = true;
      drawFilters();
      showCard();
      Plotly.relayout(map, { "xaxis.range": [-1.12, 1.12], "yaxis.range": [-1.12, 1.12] });
      update();
    });
  }

  async function start() {
    readTheme();
    prepare();
    showCard();
    if (!hasGl) byId("figures").before(create("p", "soft small", "This browser draws without WebGL: maps of many networks are slow."));
    const lit = litRows();
    drawLegend();
    await Promise.all([drawMap(lit), drawScatter(lit)]);
    const scatterX = (row) => state.across?.numbers[row], scatterY = (row) => state.up?.numbers[row];
    listen(map, scatter, scatterX, scatterY);
    if (state.across) listen(scatter, map, (row) => x[row], (row) => y[row]);
    map.on("plotly_clickannotation", (event) => select(unpack(data.clusters[Number(event.annotation.name)].rows)));
    map.on("plotly_relayout", (change) => {
      if (!("annotations" in change)) Plotly.relayout(map, { annotations: labels() });
    });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readTheme();
      density = null;
      update();
    });
    update();
  }

  start();
})();
