// The last ten minutes: begins with what the history knows, then a point is taken from the live values every two seconds.
import { colour, readHistory, state } from "ems-store";

const SPAN_MS = 600e3;
const STEP_MS = 2000;
const NODES = { grid: "site/GridPower", pv: "site/ProductionPower", ess: "site/EssPower", load: "site/ConsumptionPower" };
const SERIES = [["load", "Consumption"], ["pv", "Solar"], ["ess", "Battery"], ["grid", "Grid"]];

const timeOf = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const kilowatts = (v) => (v == null ? "–" : v.toFixed(2).replace("-", "−") + " kW");
const present = (name) => {
  const { q, w } = state[name === "load" ? "used" : name];
  return state.link.away || q === "bad" ? null : w / 1000;
};

function tooltip(rows) {
  const lines = rows.map((r) => `<div><i style="background:${r.color}"></i>${r.seriesName}<b>${kilowatts(r.value[1])}</b></div>`);
  return `<div class="tip"><time>${timeOf(rows[0].value[0])}</time>${lines.join("")}</div>`;
}

export default {
  template: `
  <div class="chart">
    <div class="keys" aria-hidden="true"><span v-for="s in parts" :key="s[0]" :class="s[0]">{{ s[1] }}</span></div>
    <div class="plot" ref="plot" role="img" aria-label="Power of the last ten minutes in kilowatts"></div>
  </div>`,
  props: { shown: Array },
  computed: {
    parts() {
      return SERIES.filter(([name]) => this.shown.includes(name));
    },
  },
  async mounted() {
    this.points = Object.fromEntries(this.parts.map(([name]) => [name, []]));
    const [{ echarts }] = await Promise.all([import("nicegui-echart"), this.begin()]);
    this.chart = echarts.init(this.$refs.plot, null, { renderer: "canvas" });
    this.timer = setInterval(this.step, STEP_MS);
    this.observer = new ResizeObserver(() => this.chart.resize());
    this.observer.observe(this.$refs.plot);
    window.addEventListener("ems-theme", this.dress);
    this.dress();
  },
  beforeUnmount() {
    clearInterval(this.timer);
    window.removeEventListener("ems-theme", this.dress);
    this.observer?.disconnect();
    this.chart?.dispose();
  },
  methods: {
    // A site without a history begins empty.
    async begin() {
      const nodes = this.parts.map(([name]) => NODES[name]);
      const found = await readHistory(nodes, Date.now() - SPAN_MS, Date.now(), 600, "raw").catch(() => ({ series: {} }));
      for (const [name] of this.parts) {
        const { t, v } = found.series[NODES[name]] ?? { t: [], v: [] };
        this.points[name] = t.map((time, i) => [time, v[i] === null ? null : v[i] / 1000]);
      }
    },
    step() {
      for (const [name] of this.parts) {
        const points = this.points[name];
        points.push([Date.now(), present(name)]);
        while (points[0][0] < Date.now() - SPAN_MS) points.shift();
      }
      if (!document.hidden) this.draw();
    },
    dress() {
      const font = { color: colour("muted"), fontFamily: "Inter", fontSize: 11 };
      this.chart.setOption({
        animation: false,
        grid: { left: 8, right: 12, top: 12, bottom: 4, containLabel: true },
        tooltip: {
          trigger: "axis", formatter: tooltip, backgroundColor: colour("raised"), borderColor: colour("line"), padding: 12,
          textStyle: { color: colour("ink"), fontFamily: "Inter", fontSize: 12 }, axisPointer: { lineStyle: { color: colour("muted"), type: "solid" } },
        },
        xAxis: {
          type: "time", axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false }, splitNumber: 5,
          axisLabel: { ...font, hideOverlap: true },
        },
        yAxis: {
          type: "value", splitNumber: 4, axisLabel: { ...font, formatter: (v) => String(v).replace("-", "−") },
          splitLine: { lineStyle: { color: colour("line") } },
        },
      });
      this.draw();
    },
    draw() {
      const now = Date.now();
      const first = Math.min(...this.parts.map(([name]) => this.points[name][0]?.[0] ?? now));
      const min = Math.max(now - SPAN_MS, Math.min(first, now - 60e3));
      const formatter = now - min < 590e3 ? "{HH}:{mm}:{ss}" : "{HH}:{mm}";
      this.chart.setOption({ xAxis: { min, max: now, axisLabel: { formatter } }, series: this.parts.map(this.series) });
    },
    series([name, label]) {
      const tint = colour(name);
      return {
        name: label, type: "line", showSymbol: false, symbol: "circle", sampling: "lttb", connectNulls: false, animation: false, data: this.points[name],
        lineStyle: { width: name === "load" ? 1.6 : 2, color: tint, join: "round" }, itemStyle: { color: tint },
        areaStyle: name === "load" ? undefined : { color: tint, opacity: name === "pv" ? 0.22 : 0.12 }, emphasis: { disabled: true }, z: name === "load" ? 5 : 2,
      };
    },
  },
};
