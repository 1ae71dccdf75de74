// What the dashboard draws with: the charts and components it uses, and no others.
import { init, use } from "echarts/core";
import { BarChart, LineChart, PieChart, SunburstChart, TreemapChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import { SVGRenderer } from "echarts/renderers";

use([
  BarChart, LineChart, PieChart, SunburstChart, TreemapChart,
  AriaComponent, GridComponent, LegendComponent, TooltipComponent, SVGRenderer,
]);

export { init };
