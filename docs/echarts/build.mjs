// Makes langchain_tokens/dashboard/static/echarts.js from Apache ECharts: npm install && npm run build
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const STATIC = new URL("../../langchain_tokens/dashboard/static/", import.meta.url);
const MODULES = new URL("./node_modules/", import.meta.url);
const LIBRARY = new URL("echarts/", MODULES);
const LICENSES = ["echarts/LICENSE", "echarts/licenses/LICENSE-d3", "zrender/LICENSE", "tslib/LICENSE.txt"];
const VERSION = JSON.parse(await readFile(new URL("package.json", LIBRARY), "utf8")).version;

// The page allows no markup from scripts (Trusted Types). The painter empties its element that way, twice.
const EMPTIED = /\.innerHTML = (''|null);/g;
const without_markup = {
  name: "without-markup",
  setup(builder) {
    builder.onLoad({ filter: /zrender[\\/]lib[\\/]svg[\\/]Painter\.js$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      if ((text.match(EMPTIED) || []).length !== 2) throw new Error(`${path} is not what this was written for`);
      return { contents: text.replace(EMPTIED, ".replaceChildren();"), loader: "js" };
    });
  },
};

await build({
  entryPoints: ["charts.js"],
  outfile: new URL("echarts.js", STATIC).pathname,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  banner: { js: `/*! Apache ECharts ${VERSION}, a part of it; Apache License 2.0, see echarts.LICENSE.txt and echarts.NOTICE.txt */` },
  plugins: [without_markup],
});
const texts = LICENSES.map(async (name) => `${name}\n\n${await readFile(new URL(name, MODULES), "utf8")}`);
await writeFile(new URL("echarts.LICENSE.txt", STATIC), (await Promise.all(texts)).join("\n\n"));
await copyFile(new URL("NOTICE", LIBRARY), new URL("echarts.NOTICE.txt", STATIC));
