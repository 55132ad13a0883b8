// Channels over time. The page keeps a window of time (from, to); everything else follows from it: the axes at once, the values
// as soon as they were read. A window that ends now moves on with the time.
import { clock, colour, readHistory, shortcuts, state, tell } from "ems-store";

const MIN_MS = 10e3;
const MAX_MS = 3 * 366 * 86400e3;
const SPANS = [["15m", "15 min", 900e3], ["1h", "1 h", 3600e3], ["6h", "6 h", 6 * 3600e3], ["24h", "24 h", 86400e3], ["3d", "3 days", 3 * 86400e3], ["7d", "7 days", 7 * 86400e3]];
const HOWS = [["auto", "Auto"], ["raw", "Raw"], ["average", "Averaged"]];
const KILO = { W: "kW", Wh: "kWh", var: "kvar", "V·A": "kVA" };
const FROM_ZERO = new Set(["W", "Wh", "var", "V·A", "%", "A", "W/m²"]);
const AXIS_PX = 54;
const KEYS = [["← →", "Move in time"], ["+ −", "Zoom in, zoom out"], ["0", "Back to now"]];
const GRADES = ["", "uncertain", "bad", "missing"];
const SHADES = [[1, "warn", 0.12], [2, "bad", 0.1], [3, "muted", 0.07]];

const minus = (text) => String(text).replace("-", "−");
const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60e3).toISOString().slice(0, 16);
const moment = (ms) => new Date(ms).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

function figures(value) {
  const size = Math.abs(value);
  return minus(value.toFixed(Number.isInteger(value) || size >= 1000 ? 0 : size < 10 ? 3 : size < 100 ? 2 : 1));
}

// Index of the last time that is not after `t`, or -1.
function before(times, t) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// Stretches of time [from, to] in which a channel had this grade.
function stretches({ t, v, q }, grade) {
  const found = [];
  for (let i = 0; i < t.length; i += 1) {
    if (q[i] === grade) found.push([t[i], t[i + 1] ?? t[i]]);
  }
  return found;
}

// The same of several channels, where they overlap taken once.
function merged(parts) {
  const found = [];
  for (const [from, to] of parts.flat().sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}

export default {
  template: `
  <div class="trends">
    <aside :class="['picker', 'card', picking ? 'open' : '']" aria-label="Channels">
      <label class="search"><span class="sr">Find a channel</span><input type="search" v-model.trim="wanted" placeholder="Find a channel" @keydown.enter="chooseFirst" /></label>
      <div class="list">
        <p v-if="!found.length" class="empty">Nothing with a history is called “{{ wanted }}”.</p>
        <details v-for="t in found" :key="t.alias" :open="wanted !== '' || open[t.alias]" @toggle="open[t.alias] = $event.target.open">
          <summary><b>{{ t.label }}</b><i>{{ t.alias }}</i></summary>
          <button v-for="c in t.channels" :key="c.node" type="button" class="pick" role="checkbox" :aria-checked="chosen.includes(c.node)" :title="c.doc"
            draggable="true" @dragstart="$event.dataTransfer.setData('text/plain', c.node)" @click="toggle(c.node)">
            <span class="swatch" :style="{background: chosen.includes(c.node) ? tint(c.node) : ''}"></span><span>{{ c.name }}</span><i>{{ c.unit }}</i>
          </button>
        </details>
      </div>
    </aside>
    <section class="card sheet" aria-label="Chart">
      <div class="tools">
        <button type="button" class="pick-toggle" :aria-expanded="picking" @click="picking = !picking"><svg class="icon"><use :href="picking ? '#i-close' : '#i-plus'" /></svg>Channels</button>
        <div class="chips" role="radiogroup" aria-label="Range">
          <button v-for="[key, text, ms] in spans" :key="key" type="button" role="radio" :aria-checked="live && span === ms" @click="showSpan(ms)">{{ text }}</button>
        </div>
        <details class="between" ref="between">
          <summary :class="live ? '' : 'on'"><svg class="icon"><use href="#i-clock" /></svg>{{ live ? 'From … to' : between }}</summary>
          <form @submit.prevent="showBetween">
            <label>From<input type="datetime-local" :value="local(from)" ref="begin" required /></label>
            <label>To<input type="datetime-local" :value="local(to)" ref="end" required /></label>
            <button class="primary">Show</button>
          </form>
        </details>
        <span class="space"></span>
        <div class="chips" role="radiogroup" aria-label="Values">
          <button v-for="[key, text] in hows" :key="key" type="button" role="radio" :aria-checked="how === key" @click="how = key">{{ text }}</button>
        </div>
        <button type="button" class="tool" @click="exportCsv" :disabled="!chosen.length"><svg class="icon"><use href="#i-download" /></svg>CSV</button>
        <button type="button" class="tool" @click="exportPng" :disabled="!chosen.length"><svg class="icon"><use href="#i-download" /></svg>PNG</button>
      </div>
      <ul class="legend">
        <li v-for="c in shown" :key="c.node" :class="GRADES[reading(c).grade]">
          <span class="swatch" :style="{background: tint(c.node)}"></span>
          <span class="what">{{ c.thing }}{{ c.name }}</span>
          <b>{{ reading(c).text }}</b><i>{{ reading(c).unit }}</i>
          <em v-if="reading(c).grade">{{ GRADES[reading(c).grade] }}</em>
          <button type="button" class="round" :aria-label="'Remove ' + c.thing + c.name" @click="toggle(c.node)"><svg class="icon"><use href="#i-close" /></svg></button>
        </li>
      </ul>
      <div :class="['plot', over ? 'over' : '', moving ? 'moving' : '']" ref="plot" tabindex="0" role="application" aria-label="Chart. Arrow keys move, plus and minus zoom, zero goes back to now."
        @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="drop" @keydown="press" @wheel.prevent="wheel"
        @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="up" @pointerleave="cursor = null" @dblclick="showSpan(span)">
        <div class="canvas" ref="canvas"></div>
        <div v-if="cursor" :class="['cursor', cursor.late ? 'late' : '']" :style="{left: cursor.x + 'px'}"><time>{{ moment(cursor.t) }}</time></div>
        <div v-if="!chosen.length" class="nothing">
          <svg class="icon"><use href="#i-trends" /></svg>
          <b>Choose what to look at</b>
          <p>Click a channel in the list, or drag it here. Several with different units each get an axis.</p>
          <button v-if="start.length" type="button" class="primary" @click.stop="chosen = [...start]">Show the power flow</button>
        </div>
      </div>
      <p class="foot"><span>{{ explained }}</span><span v-if="busy" class="busy">reading…</span><span v-if="problem" class="problem" role="alert">{{ problem }}</span></p>
    </section>
  </div>`,
  props: { things: Array, start: Array, most: Number },
  data() {
    return {
      GRADES, spans: SPANS, hows: HOWS, chosen: [], wanted: "", open: { site: true }, picking: false, over: false, moving: false, busy: false, problem: "",
      how: "auto", span: SPANS[3][2], live: true, from: 0, to: 0, step: 0, cursor: null, drawn: 0,
    };
  },
  computed: {
    channels() {
      return new Map(this.things.flatMap((t) => t.channels.map((c) => [c.node, { ...c, thing: t.kind === 'site' ? '' : t.label + ' · ' }])));
    },
    shown() {
      return this.chosen.map((node) => this.channels.get(node)).filter(Boolean);
    },
    found() {
      const words = this.wanted.toLowerCase().split(/\s+/);
      const fits = (t, c) => words.every((w) => `${t.label} ${c.node} ${c.doc}`.toLowerCase().includes(w));
      return this.things.map((t) => ({ ...t, channels: t.channels.filter((c) => fits(t, c)) })).filter((t) => t.channels.length);
    },
    between() {
      const day = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false };
      return `${new Date(this.from).toLocaleString([], day)} – ${new Date(this.to).toLocaleString([], day)}`;
    },
    explained() {
      if (!this.chosen.length) return "";
      const step = this.step >= 3600 ? this.step / 3600 + " h" : this.step >= 60 ? this.step / 60 + " min" : this.step + " s";
      return this.step ? `Averages of ${step}, times are local. Shaded: values that are missing or not good.` : "Raw values, times are local. Shaded: values that are missing or not good.";
    },
  },
  watch: {
    chosen: {
      deep: true,
      handler() {
        this.$emit("watch", this.chosen);
        this.keepAddress();
        this.load();
      },
    },
    how: "again",
  },
  async mounted() {
    this.data = new Map();
    this.pointers = new Map();
    shortcuts.push(...KEYS);
    this.readAddress();
    const { echarts } = await import("nicegui-echart");
    this.chart = echarts.init(this.$refs.canvas, null, { renderer: "canvas" });
    this.observer = new ResizeObserver(() => this.chart.resize());
    this.observer.observe(this.$refs.canvas);
    window.addEventListener("ems-theme", this.draw);
    this.timer = setInterval(this.tick, 1000);
    this.draw();
  },
  beforeUnmount() {
    shortcuts.length = 0;
    window.removeEventListener("ems-theme", this.draw);
    clearInterval(this.timer);
    this.observer?.disconnect();
    this.chart?.dispose();
  },
  methods: {
    local,
    moment,
    // ---- the address ----------------------------------------------------------------------------------------------
    readAddress() {
      const query = new URLSearchParams(window.location.search);
      const asked = query.getAll("c").filter((node) => this.channels.has(node));
      this.span = SPANS.find(([key]) => key === query.get("span"))?.[2] ?? this.span;
      this.how = HOWS.some(([key]) => key === query.get("how")) ? query.get("how") : "auto";
      const [from, to] = [Date.parse(query.get("from")), Date.parse(query.get("to"))];
      if (from < to) Object.assign(this, { from, to, live: false });
      else this.toNow();
      this.chosen = asked.length || query.has("c") ? asked : [...this.start];
    },
    keepAddress() {
      const query = new URLSearchParams(this.chosen.map((node) => ["c", node]));
      if (this.live) query.set("span", SPANS.find(([, , ms]) => ms === this.span)?.[0] ?? "24h");
      else for (const key of ["from", "to"]) query.set(key, new Date(this[key]).toISOString());
      if (this.how !== "auto") query.set("how", this.how);
      window.history.replaceState(null, "", "?" + query.toString().replaceAll("%2F", "/").replaceAll("%3A", ":"));
    },
    // ---- what is shown --------------------------------------------------------------------------------------------
    toggle(node) {
      if (this.chosen.includes(node)) this.chosen = this.chosen.filter((n) => n !== node);
      else if (this.chosen.length < 12) this.chosen = [...this.chosen, node];
      else tell(false, "Twelve channels are as many as a chart can show. Remove one first.");
    },
    chooseFirst() {
      const channel = this.found[0]?.channels[0];
      if (channel) this.toggle(channel.node);
    },
    drop(event) {
      this.over = false;
      const node = event.dataTransfer.getData("text/plain");
      if (this.channels.has(node) && !this.chosen.includes(node)) this.toggle(node);
    },
    tint(node) {
      const carrier = this.channels.get(node)?.carrier;
      if (carrier) return colour(carrier);
      const others = this.chosen.filter((n) => !this.channels.get(n)?.carrier);
      return colour("s" + ((Math.max(0, others.indexOf(node)) % 8) + 1));
    },
    // ---- the window of time ---------------------------------------------------------------------------------------
    toNow() {
      this.live = true;
      this.to = Date.now();
      this.from = this.to - this.span;
    },
    showSpan(ms) {
      this.span = ms;
      this.toNow();
      this.again();
    },
    showBetween() {
      const [from, to] = [Date.parse(this.$refs.begin.value), Date.parse(this.$refs.end.value)];
      if (!(from < to)) return tell(false, "The range ends before it begins.");
      this.$refs.between.open = false;
      Object.assign(this, { from, to, live: false });
      this.again();
    },
    show(from, to) {
      const width = Math.min(MAX_MS, Math.max(MIN_MS, to - from));
      const late = Math.max(0, from + width - Date.now());
      Object.assign(this, { from: from - late, to: from - late + width, live: false });
      this.draw();
      clearTimeout(this.soon);
      this.soon = setTimeout(this.again, 180);
    },
    zoom(factor, at = (this.from + this.to) / 2) {
      this.show(at - (at - this.from) * factor, at + (this.to - at) * factor);
    },
    shift(share) {
      const by = (this.to - this.from) * share;
      this.show(this.from + by, this.to + by);
    },
    again() {
      this.keepAddress();
      this.load();
    },
    // ---- reading --------------------------------------------------------------------------------------------------
    async load() {
      this.reading_?.abort();
      if (!this.chosen.length) return this.draw();
      const request = (this.reading_ = new AbortController());
      const margin = this.live ? 0 : (this.to - this.from) / 2;
      const to = Math.min(Date.now(), this.to + margin);
      const points = Math.min(1200, Math.max(200, this.$refs.canvas.clientWidth)) * (margin ? 2 : 1);
      this.busy = true;
      try {
        const { step, series } = await readHistory(this.chosen, this.from - margin, to, points, this.how, request.signal);
        this.data = new Map(Object.entries(series));
        this.step = step;
        this.read = Date.now();
        this.problem = "";
      } catch (error) {
        if (error.name === "AbortError") return;
        this.problem = error.message;
      }
      this.busy = false;
      this.draw();
    },
    tick() {
      if (!this.live || document.hidden || !this.chosen.length) return;
      this.toNow();
      if (!this.step) this.append();
      else if (Date.now() - this.read > Math.max(5e3, this.step * 500)) this.load();
      this.draw();
    },
    append() {
      for (const node of this.chosen) {
        const [value, grade] = state["t." + node] ?? [null, 2];
        const data = this.data.get(node);
        if (!data || state.link.away) continue;
        data.t.push(Date.now());
        data.v.push(value);
        data.q.push(grade);
        while (data.t[1] < this.from) for (const column of Object.values(data)) column.shift();
      }
    },
    // ---- drawing --------------------------------------------------------------------------------------------------
    axes() {
      const axes = new Map();
      for (const c of this.shown) {
        const key = c.states.length ? c.node : c.unit;
        if (!axes.has(key)) axes.set(key, { key, unit: c.unit, states: c.states, tint: this.tint(c.node), top: 0 });
        const axis = axes.get(key);
        axis.top = Math.max(axis.top, ...(this.data.get(c.node)?.v ?? []).map((v) => Math.abs(v ?? 0)));
      }
      return [...axes.values()].map((axis) => ({ ...axis, kilo: KILO[axis.unit] && axis.top >= 1000 }));
    },
    // Further axes scale, too, but a narrow chart has no room to label them.
    axesShown() {
      return this.$refs.canvas.clientWidth < 520 ? 2 : 4;
    },
    axis(axis, place, count) {
      const label = axis.states.length ? (v) => axis.states[v] ?? "" : (v) => minus(axis.kilo ? v / 1000 : v);
      return {
        type: "value", position: place % 2 ? "right" : "left", offset: Math.floor(place / 2) * AXIS_PX, show: place < this.axesShown(),
        name: axis.states.length ? "" : axis.kilo ? KILO[axis.unit] : axis.unit, scale: !FROM_ZERO.has(axis.unit), min: axis.states.length ? 0 : undefined,
        max: axis.states.length ? axis.states.length - 1 : undefined, interval: axis.states.length ? 1 : undefined, splitNumber: 5,
        nameTextStyle: { color: count > 1 ? axis.tint : colour("muted"), fontFamily: "Inter", align: place % 2 ? "left" : "right" },
        axisLabel: { show: place < this.axesShown(), color: count > 1 ? axis.tint : colour("muted"), fontFamily: "Inter", fontSize: 11, formatter: label },
        axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: place === 0, lineStyle: { color: colour("line") } },
      };
    },
    blemishes() {
      const all = this.shown.map((c) => this.data.get(c.node)).filter(Boolean);
      return SHADES.flatMap(([grade, tint, opacity]) =>
        merged(all.map((data) => stretches(data, grade))).map(([from, to]) => [{ xAxis: from, itemStyle: { color: colour(tint), opacity } }, { xAxis: to }]));
    },
    series(c, place, axes) {
      const data = this.data.get(c.node) ?? { t: [], v: [], q: [] };
      const rows = data.t.map((t, i) => [t, data.v[i]]);
      if (this.live && this.step && !state.link.away) rows.push([Date.now(), state["t." + c.node]?.[0] ?? null]);
      return {
        id: c.node, name: c.thing + c.name, type: "line", data: rows, yAxisIndex: axes.findIndex((a) => a.key === (c.states.length ? c.node : c.unit)),
        step: c.states.length ? "end" : false, showSymbol: false, connectNulls: false, animation: false, silent: true, sampling: "lttb",
        lineStyle: { width: 1.8, color: this.tint(c.node), join: "round" }, itemStyle: { color: this.tint(c.node) },
        markArea: place ? undefined : { silent: true, animation: false, data: this.blemishes() },
      };
    },
    draw() {
      if (!this.chart) return;
      const axes = this.axes();
      const [left, right] = [0, 1].map((side) => axes.filter((_, i) => i % 2 === side && i > 1 && i < this.axesShown()).length * AXIS_PX);
      this.chart.setOption({
        animation: false, grid: { left: 10 + left, right: 16 + right, top: axes.some((a) => a.unit) ? 34 : 12, bottom: 6, containLabel: true },
        xAxis: {
          type: "time", min: this.from, max: this.to, axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false },
          splitNumber: Math.max(3, Math.min(9, Math.floor(this.$refs.canvas.clientWidth / 130))),
          axisLabel: { color: colour("muted"), fontFamily: "Inter", fontSize: 11, hideOverlap: true, formatter: { day: "{bold|{MMM} {d}}", hour: "{HH}:{mm}", minute: "{HH}:{mm}", second: "{HH}:{mm}:{ss}" }, rich: { bold: { color: colour("ink"), fontWeight: 600 } } },
        },
        yAxis: axes.length ? axes.map((axis, place) => this.axis(axis, place, axes.length)) : [{ type: "value", show: false }],
        series: this.shown.map((c, place) => this.series(c, place, axes)),
      }, { replaceMerge: ["yAxis", "series"] });
      this.drawn += 1;
    },
    // What the legend tells: the value under the cursor, else the newest.
    reading(c) {
      void this.drawn;
      const data = this.data?.get(c.node);
      const index = data ? before(data.t, this.cursor?.t ?? Infinity) : -1;
      const tail = !this.cursor && this.live ? state["t." + c.node] : null;
      const value = tail ? tail[0] : index < 0 ? null : data.v[index];
      const grade = tail ? tail[1] : index < 0 ? 0 : data.q[index];
      if (value === null || value === undefined) return { text: "–", unit: "", grade };
      if (c.states.length) return { text: c.states[value] ?? figures(value), unit: "", grade };
      const kilo = KILO[c.unit] && this.axes().find((a) => a.unit === c.unit)?.kilo;
      return { text: figures(kilo ? value / 1000 : value), unit: kilo ? KILO[c.unit] : c.unit, grade };
    },
    // ---- mouse, touch, keys ---------------------------------------------------------------------------------------
    time(event) {
      const { left, width } = this.$refs.canvas.getBoundingClientRect();
      const x = event.clientX - left;
      return { x, t: this.chart.convertFromPixel({ xAxisIndex: 0 }, x), late: x > width / 2 };
    },
    point(event) {
      const at = this.time(event);
      this.cursor = at.t >= this.from && at.t <= this.to ? at : null;
    },
    wheel(event) {
      if (!this.chart || !this.chosen.length) return;
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return this.shift(event.deltaX / 1200);
      this.zoom(Math.exp(Math.max(-0.4, Math.min(0.4, event.deltaY / 400))), this.time(event).t);
    },
    down(event) {
      if (!this.chart || !this.chosen.length || event.target.closest("button")) return;
      this.$refs.plot.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event.clientX);
      this.grip();
    },
    // Holds on to the times under the fingers; moving them moves and stretches the window.
    grip() {
      const box = this.$refs.canvas.getBoundingClientRect();
      this.held = [...this.pointers.values()].map((x) => this.chart.convertFromPixel({ xAxisIndex: 0 }, x - box.left));
      this.scale = [...this.pointers.values()];
    },
    move(event) {
      if (!this.chart || !this.chosen.length) return;
      if (!this.pointers.has(event.pointerId)) return this.point(event);
      this.pointers.set(event.pointerId, event.clientX);
      const xs = [...this.pointers.values()];
      if (xs.length === 1 && Math.abs(xs[0] - this.scale[0]) < 4 && !this.moving) return this.point(event);
      this.moving = true;
      this.cursor = null;
      const width = this.chart.convertToPixel({ xAxisIndex: 0 }, this.to) - this.chart.convertToPixel({ xAxisIndex: 0 }, this.from);
      const left = this.$refs.canvas.getBoundingClientRect().left + this.chart.convertToPixel({ xAxisIndex: 0 }, this.from);
      const [a, b] = this.held;
      const perPixel = xs.length > 1 && Math.abs(xs[1] - xs[0]) > 8 ? (b - a) / (xs[1] - xs[0]) : (this.to - this.from) / width;
      if (perPixel > 0) this.show(a - (xs[0] - left) * perPixel, a + (left + width - xs[0]) * perPixel);
    },
    up(event) {
      this.pointers.delete(event.pointerId);
      this.moving = false;
      if (this.pointers.size) this.grip();
    },
    press(event) {
      const deeds = {
        ArrowLeft: () => this.shift(-0.2), ArrowRight: () => this.shift(0.2), "+": () => this.zoom(0.7), "=": () => this.zoom(0.7), "-": () => this.zoom(1.4),
        "0": () => this.showSpan(this.span),
      };
      if (!deeds[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      deeds[event.key]();
    },
    // ---- export ---------------------------------------------------------------------------------------------------
    exportCsv() {
      const query = new URLSearchParams([...this.chosen.map((n) => ["node", n]), ["from", Math.round(this.from)], ["to", Math.round(this.to)], ["how", this.how]]);
      this.save("/history.csv?" + query, "");
    },
    exportPng() {
      const names = { show: true, top: 4, left: 10, itemWidth: 14, textStyle: { color: colour("ink"), fontFamily: "Inter" } };
      this.chart.setOption({ legend: names, grid: { top: 64 } });
      const picture = this.chart.getDataURL({ pixelRatio: 2, backgroundColor: colour("card") });
      this.chart.setOption({ legend: { show: false } });
      this.draw();
      this.save(picture, "trends.png");
    },
    save(address, name) {
      Object.assign(document.createElement("a"), { href: address, download: name }).click();
    },
  },
};
