// The last ten minutes: the server sends the beginning, then a point is taken from the live values every two seconds.
import { colour, state } from "ems-store";

const SPAN_MS = 600e3;
const STEP_MS = 2000;

const SERIES = [["load", "Consumption", 4], ["pv", "Solar", 2], ["ess", "Battery", 3], ["grid", "Grid", 1]];

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const kilowatts = (v) => (v == null ? "–" : v.toFixed(2).replace("-", "−") + " kW");

const now = () => (state.link.away ? [null, null, null, null] : [kilo("grid"), kilo("pv"), kilo("ess"), kilo("used")]);
const kilo = (name) => (state[name].q === "bad" ? null : state[name].w / 1000);

function series(points, [name, label, column]) {
  return {
    name: label, type: "line", showSymbol: false, symbol: "circle", smooth: 0.25, sampling: "lttb", connectNulls: false, animation: false,
    lineStyle: { width: name === "load" ? 1.6 : 2, color: colour(name) }, itemStyle: { color: colour(name) },
    areaStyle: name === "load" ? undefined : { color: colour(name), opacity: name === "pv" ? 0.22 : 0.12 },
    emphasis: { disabled: true }, z: name === "load" ? 5 : 2,
    data: points.map((p) => [p[0], p[column]]),
  };
}

function tooltip(rows) {
  const lines = rows.map((r) => `<div><i style="background:${r.color}"></i>${r.seriesName}<b>${kilowatts(r.value[1])}</b></div>`);
  return `<div class="tip"><time>${clock(rows[0].value[0])}</time>${lines.join("")}</div>`;
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
    const { echarts } = await import("nicegui-echart");
    this.chart = echarts.init(this.$refs.plot, null, { renderer: "canvas" });
    this.observer = new ResizeObserver(() => this.chart.resize());
    this.observer.observe(this.$refs.plot);
    this.points = [];
    this.timer = setInterval(this.step, STEP_MS);
    this.$emit("ready");
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
    begin(points) {
      this.points = [...points, ...this.points.filter((p) => p[0] > points.at(-1)[0])];
      this.draw();
    },
    step() {
      this.points.push([Date.now(), ...now()]);
      while (this.points[0][0] < Date.now() - SPAN_MS) this.points.shift();
      if (!document.hidden) this.draw();
    },
    draw() {
      const now = Date.now();
      const first = this.points[0]?.[0] ?? now;
      const min = Math.max(now - SPAN_MS, Math.min(first, now - 60e3));
      const formatter = now - min < 590e3 ? "{HH}:{mm}:{ss}" : "{HH}:{mm}";
      this.chart.setOption({ xAxis: { min, max: now, axisLabel: { formatter } }, series: this.parts.map((part) => series(this.points, part)) });
    },
  },
};
