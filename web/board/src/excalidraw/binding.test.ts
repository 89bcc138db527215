import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'

import { entriesOf, observeEntries, readAll, readEntry, writeEntry } from '../document/entries'
import { pack } from '../document/points'
import type { Changes, Properties } from '../document/values'
import { type Random, random } from '../testing/random'
import { Binding, type Scene } from './binding'
import { type SceneElement, toElement } from './element'

/** One browser: a document, a binding, and a canvas that changes its elements in place, as Excalidraw does. */
class Site {
  readonly doc = new Y.Doc()
  readonly binding: Binding
  scene: Scene = []
  private readonly news = new Set<string>()
  private made = 0

  constructor(
    readonly name: string,
    page = ''
  ) {
    this.binding = new Binding(page, name)
    observeEntries(
      this.entries,
      ({ origin }) => origin === 'canvas',
      (ids) => ids.forEach((id) => this.news.add(id))
    )
  }

  get entries() {
    return entriesOf(this.doc, 'elements')
  }

  get live(): SceneElement[] {
    return this.scene.filter((element) => !element.isDeleted)
  }

  draw(type: string, keys: Record<string, unknown> = {}): string {
    const id = `${this.name}${this.made++}`
    const blank = toElement(id, { type, x: 0, y: 0, width: 10, height: 10, pos: 'V' }, 1, 1)
    this.scene = [...this.scene, { ...blank, ...keys, version: 1, versionNonce: Math.random() }]
    return id
  }

  change(id: string, keys: Record<string, unknown>): void {
    const element = this.scene.find((other) => other.id === id) as SceneElement
    Object.assign(element, keys, { version: element.version + 1, versionNonce: Math.random() })
  }

  raise(id: string, to: number): void {
    const element = this.scene.find((other) => other.id === id) as SceneElement
    const rest = this.scene.filter((other) => other !== element)
    this.scene = [...rest.slice(0, to), element, ...rest.slice(to)]
    this.change(id, { index: `a${to}` })
  }

  /** Lets an end of an arrow go, and binds it to an element, as Excalidraw does: on both sides. */
  bind(arrow: string, end: 'startBinding' | 'endBinding', to: string | null): void {
    const other = end === 'startBinding' ? 'endBinding' : 'startBinding'
    const at = (id: string) => this.scene.find((element) => element.id === id) as SceneElement
    const target = (key: string) => (at(arrow)[key] as { elementId: string } | null)?.elementId
    const listed = (id: string) => (at(id).boundElements as { id: string; type: string }[] | null) ?? []
    const old = target(end)
    this.change(arrow, { [end]: to && { elementId: to, focus: 0, gap: 1 } })
    if (old && at(old) && target(other) !== old)
      this.change(old, { boundElements: listed(old).filter(({ id }) => id !== arrow) })
    if (to && !listed(to).some(({ id }) => id === arrow))
      this.change(to, { boundElements: [...listed(to), { id: arrow, type: 'arrow' }] })
  }

  /** One frame: first what was done here, then what came. */
  frame(now = 1): void {
    const { writes, lost, unfit } = this.binding.diff(this.scene, { now })
    this.doc.transact(() => {
      for (const { id, changes, isNew } of writes) writeEntry(this.entries, id, changes, isNew)
    }, 'canvas')
    const ids = [...this.news, ...lost, ...unfit]
    this.news.clear()
    this.scene = this.binding.merge(this.scene, ids, (id) => readEntry(this.entries, id)) ?? this.scene
  }

  hears(other: Site): void {
    Y.applyUpdate(this.doc, Y.encodeStateAsUpdate(other.doc, Y.encodeStateVector(this.doc)), 'net')
  }

  /** What an op of the server, or a foreign Yjs client, writes. */
  foreign(id: string, changes: Changes, isNew = false): void {
    this.doc.transact(() => writeEntry(this.entries, id, changes, isNew), 'net')
  }

  properties(id: string): Properties {
    return readEntry(this.entries, id) as Properties
  }

  seen(): unknown[] {
    return this.live.map(
      ({ version: _v, versionNonce: _n, index: _i, customData: _c, updated: _u, lastCommittedPoint: _p, ...rest }) =>
        rest
    )
  }
}

/** What anybody sees who opens the document now. */
function opened(site: Site, page = ''): unknown[] {
  const fresh = new Site('fresh', page)
  fresh.hears(site)
  fresh.frame()
  return fresh.seen()
}

const round = (value: number) => Math.round(value * 16) / 16

function act(site: Site, dice: Random): void {
  const some = () => dice.pick(site.live).id
  const act = site.live.length === 0 ? 0 : dice.int(9)
  if (act === 0) site.draw(dice.pick(['rectangle', 'ellipse', 'text']), { x: dice.real(-500, 500), y: dice.real(0, 9) })
  else if (act === 1)
    site.draw('freedraw', {
      points: [
        [0, 0],
        [dice.real(0, 9), 4]
      ],
      pressures: [0.6, dice.int(256) / 255],
      simulatePressure: false
    })
  else if (act === 2) site.change(some(), { x: dice.real(-1e4, 1e4), y: dice.real(-1e4, 1e4) })
  else if (act === 3) site.change(some(), { strokeColor: dice.pick(['#1e1e1e', '#e03131', '#2f9e44']) })
  else if (act === 4) site.change(some(), { roundness: dice.pick([null, { type: 3 }]), opacity: 10 * dice.int(11) })
  else if (act === 5) {
    const arrows = site.live.filter(({ type }) => type === 'arrow').map(({ id }) => id)
    const shapes = site.live.filter(({ type }) => type === 'rectangle').map(({ id }) => id)
    if (arrows.length === 0) site.draw('arrow')
    else site.bind(dice.pick(arrows), dice.pick(['startBinding', 'endBinding']), dice.pick([null, ...shapes]))
  } else if (act === 6) site.change(some(), { isDeleted: true })
  else if (act === 7) site.raise(some(), dice.int(site.scene.length))
  else
    site.foreign(
      some(),
      dice.pick<Changes>([
        { y: dice.int(500) },
        { extra: { later: 1 } },
        { opacity: undefined },
        { deleted: 5 },
        { deleted: undefined }
      ])
    )
}

describe('canvas and document', () => {
  test('what cannot be packed is not written, and shown as the document has it; the rest is written', () => {
    const site = new Site('a')
    const line = site.draw('line', {
      points: [
        [0, 0],
        [9, 9]
      ]
    })
    site.frame()
    const before = site.properties(line)
    site.change(line, {
      points: [
        [0, 0],
        [3e9, 0]
      ]
    })
    const bad = site.draw('freedraw', { points: [[0, 0], [1]] })
    const good = site.draw('rectangle')
    site.frame()
    expect(site.seen()).toMatchObject([
      {
        id: line,
        points: [
          [0, 0],
          [9, 9]
        ]
      },
      { id: good }
    ])
    expect([site.properties(line), site.properties(bad)]).toEqual([before, undefined])
    expect(opened(site)).toEqual(site.seen())
  })

  test('random edits on three sides end as one scene', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const dice = random(seed)
      const sites = [new Site('a'), new Site('b'), new Site('c')]
      for (let step = 0; step < 60; step++) {
        const site = dice.pick(sites)
        act(site, dice)
        if (dice.flip()) site.frame(step)
        if (dice.flip()) site.hears(dice.pick(sites))
      }
      for (const site of sites) site.frame(99)
      for (const site of sites) for (const other of sites) site.hears(other)
      for (const site of sites) for (const other of sites) site.hears(other)
      for (const site of sites) site.frame(100)
      const wanted = opened(sites[0] as Site)
      for (const site of sites) expect(rounded(site.seen()), `seed ${seed}, ${site.name}`).toEqual(rounded(wanted))
      // And nobody has anything left to say.
      for (const site of sites)
        expect(site.binding.diff(site.scene, { now: 101 })).toEqual({ writes: [], lost: [], unfit: [] })
    }
  })

  test('whatever two people bind at once, both ends of each arrow agree in the end', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const dice = random(seed)
      const [a, b] = [new Site('a'), new Site('b')]
      const shapes = [a.draw('rectangle'), a.draw('ellipse'), a.draw('diamond')]
      const arrows = [a.draw('arrow'), a.draw('arrow'), a.draw('arrow')]
      for (const site of [a, b]) {
        site.hears(a)
        site.frame()
      }
      for (let step = 0; step < 12; step++) {
        const site = dice.pick([a, b])
        site.bind(dice.pick(arrows), dice.pick(['startBinding', 'endBinding']), dice.pick([null, ...shapes]))
        site.frame(step)
        if (dice.int(4) === 0) {
          site.hears(site === a ? b : a)
          site.frame(step)
        }
      }
      a.hears(b)
      b.hears(a)
      for (const site of [a, b]) site.frame(99)
      expect(a.seen(), `seed ${seed}`).toEqual(b.seen())
      expect(a.seen(), `seed ${seed}`).toEqual(opened(b))
      const at = (element: SceneElement, key: string) => (element[key] as { elementId?: string } | null)?.elementId
      for (const shape of shapes) {
        const bound = a.live.filter((arrow) => [at(arrow, 'startBinding'), at(arrow, 'endBinding')].includes(shape))
        const listed = (a.live.find(({ id }) => id === shape)?.boundElements ?? []) as { id: string }[]
        expect(listed.map(({ id }) => id).sort(), `seed ${seed}`).toEqual(bound.map(({ id }) => id).sort())
      }
      // Mending writes nothing.
      for (const site of [a, b]) expect(site.binding.diff(site.scene, { now: 101 }).writes).toEqual([])
    }
  })

  test('a shape under the hand is mended afterwards, and has one label', () => {
    const [a, b] = [new Site('a'), new Site('b')]
    const shape = a.draw('rectangle')
    a.frame()
    b.hears(a)
    b.frame()
    const label = b.draw('text', { containerId: shape })
    b.draw('text', { containerId: shape })
    b.frame()
    a.hears(b)
    const read = (id: string) => readEntry(a.entries, id)
    const isHeld = (id: string) => id === shape
    a.scene = a.binding.merge(a.scene, [...b.entries.keys()].slice(1), read, isHeld) as Scene
    expect(a.live[0]?.boundElements).toEqual([])
    expect(a.binding.takeLate()).toEqual([shape])
    a.scene = a.binding.merge(a.scene, [shape], read) as Scene
    expect(a.live[0]?.boundElements).toEqual([{ id: label, type: 'text' }])
  })

  test('what is deleted leaves the scene when others have news, unless it is held or not written', () => {
    const site = new Site('a')
    const ids = Array.from({ length: 5 }, () => site.draw('rectangle'))
    const [mine, theirs, held, late, stays] = ids as [string, string, string, string, string]
    site.frame()
    for (const id of [mine, held]) site.change(id, { isDeleted: true })
    site.frame()
    site.change(late, { isDeleted: true })
    site.foreign(theirs, { deleted: 5 })
    const read = (id: string) => readEntry(site.entries, id)
    site.scene = site.binding.merge(site.scene, [theirs], read, (id) => id === held) as Scene
    expect(site.scene.map(({ id }) => id)).toEqual([held, late, stays])
    expect(site.binding.diff(site.scene, { now: 1 })).toMatchObject({ writes: [{ id: late }], lost: [] })
    site.foreign(mine, { deleted: undefined })
    site.frame()
    expect(site.live.map(({ id }) => id)).toEqual([mine, stays])
  })

  test('one changed property is one write', () => {
    const site = new Site('a')
    const id = site.draw('rectangle', { seed: 7, roundness: { type: 3 } })
    site.frame()
    site.change(id, { x: 30.03, width: 10.001 })
    expect(site.binding.diff(site.scene, { now: 1 }).writes).toEqual([{ id, isNew: false, changes: { x: 30 } }])
  })

  test('a hatching of too many lines is shown as a plain filling, and stays in the document', () => {
    const site = new Site('a')
    const hatched = { x: 0, y: 0, backgroundColor: '#e03131', fillStyle: 'hachure' }
    const far: [number, number][] = [
      [0, 0],
      [3_000_000, 10]
    ]
    site.foreign('wide', { ...hatched, type: 'rectangle', width: 3_000_000, height: 10, pos: 'V' }, true)
    site.foreign('thin', { ...hatched, type: 'ellipse', width: 900, height: 900, strokeWidth: 1e-9, pos: 'W' }, true)
    site.foreign(
      'line',
      { ...hatched, type: 'line', width: 1, height: 1, points: pack({ points: far }), pos: 'X' },
      true
    )
    site.foreign('usual', { ...hatched, type: 'rectangle', width: 5_000, height: 5_000, pos: 'Y' }, true)
    site.frame()
    expect(site.live.map(({ fillStyle }) => fillStyle)).toEqual(['solid', 'solid', 'solid', 'hachure'])
    for (const { id } of site.live) site.change(id, { x: 30 })
    site.frame()
    for (const id of ['wide', 'thin', 'line'])
      expect(site.properties(id)).toMatchObject({ x: 30, fillStyle: 'hachure' })
  })

  test('a page inside an element is not shown, and stays in the document', () => {
    const site = new Site('a')
    const customData = { generationData: { status: 'done', html: '<script>' }, mine: 1 }
    site.foreign('frame', { type: 'iframe', x: 0, y: 0, width: 9, height: 9, pos: 'V', extra: { customData } }, true)
    site.frame()
    expect(site.live[0]?.customData).toEqual({ mine: 1 })
    site.change('frame', { x: 30 })
    site.frame()
    expect(site.properties('frame')).toMatchObject({ x: 30, extra: { customData } })
  })

  test('a crop that is changed in place is written each time', () => {
    const site = new Site('a')
    const crop = { x: 0, y: 0, width: 400, height: 240, naturalWidth: 400, naturalHeight: 240 }
    const id = site.draw('image', { fileId: 'f', status: 'saved', crop })
    site.frame()
    for (const x of [100, 200]) {
      Object.assign(crop, { x, width: 400 - x })
      site.change(id, { crop })
      site.frame()
      expect(readEntry(site.entries, id)?.extra).toMatchObject({ crop: { x, width: 400 - x } })
    }
  })

  test('an element is complete from its first commit, with defaults left out', () => {
    const site = new Site('a', 'p2')
    const id = site.draw('ellipse', { x: 5.51, strokeColor: '#e03131' })
    site.frame(77)
    const { pos, extra, ...rest } = site.properties(id)
    expect(rest).toEqual({
      type: 'ellipse',
      x: 5.5,
      y: 0,
      width: 10,
      height: 10,
      strokeColor: '#e03131',
      page: 'p2',
      author: 'a',
      created: 77
    })
    expect([typeof pos, Object.keys(extra as object)]).toEqual(['string', ['seed']])
  })

  test('edits of different properties of one element both stay', () => {
    const [a, b] = [new Site('a'), new Site('b')]
    const id = a.draw('rectangle')
    a.frame()
    b.hears(a)
    b.frame()
    a.change(id, { x: 100 })
    b.change(id, { strokeColor: '#e03131' })
    for (const site of [a, b]) site.frame()
    a.hears(b)
    b.hears(a)
    for (const site of [a, b]) site.frame()
    for (const site of [a, b]) expect(site.live[0]).toMatchObject({ x: 100, strokeColor: '#e03131' })
  })

  test('what the canvas does not know survives its edits', () => {
    const site = new Site('a')
    const strange = {
      extra: { later: { deep: [1, null] }, index: 'a1', updated: 3, panseo: { own: 1 } },
      bindings: { bound: [], other: 1 }
    }
    site.foreign('x', { type: 'arrow', x: 1, y: 2, pos: 'V000a', unheard: 'of', ...strange }, true)
    site.foreign('y', { type: 'hologram', x: 1, y: 2, pos: 'V000b' }, true)
    site.frame()
    expect(site.live.map(({ id }) => id)).toEqual(['x'])
    site.change('x', { x: 9, startArrowhead: 'bar', boundElements: [{ id: 't', type: 'text' }], updated: 1e12 })
    site.frame()
    const { extra, bindings, ...rest } = site.properties('x')
    expect(rest).toEqual({ type: 'arrow', x: 9, y: 2, pos: 'V000a', unheard: 'of' })
    expect(extra).toEqual({ ...strange.extra, startArrowhead: 'bar' })
    expect(bindings).toEqual({ other: 1, bound: [{ id: 't', type: 'text' }] })
    expect([...readAll(site.entries)].length).toBe(2)
  })

  test('malformed values of others are shown as defaults and left alone', () => {
    const site = new Site('a')
    const bad = {
      fillStyle: 'glitter',
      opacity: 900,
      points: new Uint8Array([9, 9]),
      bindings: { start: 1, bound: [3] },
      extra: { roundness: 'very', customData: 4 }
    }
    site.foreign('x', { type: 'line', x: 1, y: 2, pos: '~', ...bad }, true)
    site.frame()
    expect(site.live[0]).toMatchObject({
      fillStyle: 'solid',
      opacity: 100,
      startBinding: null,
      boundElements: [],
      roundness: null,
      points: [
        [0, 0],
        [100, 100]
      ]
    })
    site.change('x', { x: 5 })
    site.frame()
    expect(site.properties('x')).toEqual({ type: 'line', x: 5, y: 2, pos: '~', ...bad })
  })

  test('a delete is a property, and is undone as one', () => {
    const site = new Site('a')
    const id = site.draw('rectangle')
    site.frame()
    site.change(id, { isDeleted: true })
    site.frame(500)
    expect(site.properties(id).deleted).toBe(500)
    site.foreign(id, { deleted: undefined })
    site.frame()
    expect(site.live.map((element) => element.id)).toEqual([id])
  })

  test('elements that vanish from the canvas come back, unless they were deleted', () => {
    const site = new Site('a')
    const ids = [site.draw('rectangle'), site.draw('text')]
    site.frame()
    site.scene = []
    site.frame()
    expect(site.live.map(({ id }) => id)).toEqual(ids)
  })

  test('an element of another page is not shown, and goes when it moves there', () => {
    const site = new Site('a', 'p1')
    site.foreign('x', { type: 'ellipse', x: 1, y: 2, pos: 'V', page: 'p1' }, true)
    site.foreign('y', { type: 'ellipse', x: 1, y: 2, pos: 'W' }, true)
    site.frame()
    expect(site.live.map(({ id }) => id)).toEqual(['x'])
    site.foreign('x', { page: 'p2' })
    site.frame()
    expect(site.scene).toEqual([])
  })

  test('a text broken into lines keeps what was typed', () => {
    const [a, b] = [new Site('a'), new Site('b')]
    const id = a.draw('text', { text: 'one two', originalText: 'one two' })
    a.frame()
    expect(a.properties(id)).not.toHaveProperty('extra.originalText')
    a.change(id, { text: 'one\ntwo' })
    a.frame()
    b.hears(a)
    b.frame()
    expect(b.live[0]).toMatchObject({ text: 'one\ntwo', originalText: 'one two' })
    a.foreign(id, { text: 'three' })
    a.frame()
    expect(a.live[0]).toMatchObject({ text: 'three', originalText: 'three' })
  })

  test('a stroke in the making is shown, not written, and becomes the real one', () => {
    const [a, b] = [new Site('a'), new Site('b')]
    const properties = { type: 'freedraw', x: 4, y: 4 }
    b.scene = b.binding.provide(b.scene, 's', properties) as Scene
    b.change('s', { x: 50 })
    b.frame()
    expect([...b.entries.keys()]).toEqual([])
    a.foreign('s', { ...properties, pos: 'V' }, true)
    b.hears(a)
    b.frame()
    expect(b.live).toMatchObject([{ id: 's', x: 4, locked: false }])
    expect(b.binding.withdraw(b.scene, 's')).toBeUndefined()
    b.scene = b.binding.provide(b.scene, 'gone', properties) as Scene
    expect(b.binding.withdraw(b.scene, 'gone')?.map(({ id }) => id)).toEqual(['s'])
  })

  test('of what is not in a new document only the own stays', () => {
    const site = new Site('a')
    const own = site.draw('freedraw')
    const gone = site.draw('rectangle', { isDeleted: true })
    site.scene = site.binding.provide(site.scene, 'theirs', { type: 'freedraw', x: 4, y: 4 }) as Scene
    expect(site.scene.map(({ id }) => id)).toEqual([own, gone, 'theirs'])
    const renewed = new Binding('', 'a').renew(
      site,
      [],
      () => undefined,
      () => false
    )
    expect(renewed.map(({ id }) => id)).toEqual([own])
  })

  test('what others show while they drag lies over the document and is never written', () => {
    const site = new Site('a')
    const id = site.draw('rectangle')
    site.frame()
    site.binding.overlay(id, { x: 70 })
    site.scene = site.binding.merge(site.scene, [id], (name) => readEntry(site.entries, name)) as Scene
    expect(site.live[0]).toMatchObject({ x: 70 })
    site.frame()
    expect(site.properties(id).x).toBe(0)
    site.binding.overlay(id, undefined)
    site.scene = site.binding.merge(site.scene, [id], (name) => readEntry(site.entries, name)) as Scene
    expect(site.live[0]).toMatchObject({ x: 0 })
  })
})

describe('the weight of a stroke', () => {
  test('152 points are at most 1.2 KB of document', () => {
    const site = new Site('a')
    const { real } = random(3)
    let [x, y] = [0, 0]
    const points = Array.from({ length: 152 }, () => [(x += real(-3, 9)), (y += real(-6, 6))])
    const before = Y.encodeStateAsUpdate(site.doc).length
    site.draw('freedraw', {
      points,
      pressures: points.map(() => real(0, 1)),
      simulatePressure: false,
      seed: 1_234_567_890,
      strokeColor: '#e03131'
    })
    site.frame(1_780_000_000_000)
    expect(Y.encodeStateAsUpdate(site.doc).length - before).toBeLessThanOrEqual(1_200)
  })
})

/** Scenes differ by the rounding of what was drawn here and not yet read back. */
function rounded(scene: unknown[]): unknown {
  return JSON.parse(JSON.stringify(scene), (key, value: unknown) => {
    if (typeof value === 'number' && key !== 'seed') return round(value)
    return key === 'boundElements' ? (value ?? []) : value
  })
}
