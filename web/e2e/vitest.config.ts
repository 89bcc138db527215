import { defineConfig } from 'vitest/config'

// One browser and one server at a time: two cores are not enough for more. `--mode bench` and `--mode screenshots` run
// what is no test.
export default defineConfig(({ mode }) => ({
  test: {
    include: [mode === 'test' ? 'src/**/*.test.ts' : `src/${mode}.ts`],
    fileParallelism: false,
    disableConsoleIntercept: true,
    testTimeout: mode === 'test' ? 60_000 : 600_000,
    hookTimeout: 60_000
  }
}))
