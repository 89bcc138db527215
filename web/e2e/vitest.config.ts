import { defineConfig } from 'vitest/config'

// One browser and one server at a time: two cores are not enough for more.
export default defineConfig({
  test: { fileParallelism: false, testTimeout: 60_000, hookTimeout: 60_000 }
})
