// Images on their way to the server, kept on this device until they are there: the drawing that shows them survives a
// reload without a connection, and so must they.

const CACHE = 'panseo.images'

export class PendingImages {
  constructor(private readonly board: string) {}

  /** Whether it is kept now. */
  async keep(sha256: string, content: Blob): Promise<boolean> {
    // Absent without https; forbidden or full in some browsers. The upload goes on all the same.
    const kept = await this.use((cache) => cache.put(this.address(sha256), new Response(content)).then(() => true))
    return kept ?? false
  }

  async drop(sha256: string): Promise<void> {
    await this.use((cache) => cache.delete(this.address(sha256)))
  }

  async find(sha256: string): Promise<Blob | undefined> {
    const found = await this.use((cache) => cache.match(this.address(sha256)))
    return found?.blob()
  }

  /** Hashes of all that wait for this board. */
  async list(): Promise<string[]> {
    const requests = (await this.use((cache) => cache.keys())) ?? []
    const prefix = this.address('')
    return requests
      .map(({ url }) => new URL(url).pathname)
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length))
  }

  private address(sha256: string): string {
    return `/pending/${encodeURIComponent(this.board)}/${sha256}`
  }

  private async use<T>(run: (cache: Cache) => Promise<T>): Promise<T | undefined> {
    if (!('caches' in globalThis)) return undefined
    try {
      return await run(await caches.open(CACHE))
    } catch {
      return undefined
    }
  }
}
