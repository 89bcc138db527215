// Line icons in the size and weight of Excalidraw's own.

import type { ReactNode } from 'react'

function icon(children: ReactNode) {
  return (
    <svg
      viewBox="0 0 24 24"
      aria-hidden="true"
      focusable="false"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin="round"
    >
      {children}
    </svg>
  )
}

export const icons = {
  people: icon(
    <>
      <circle cx="9" cy="8" r="3.2" />
      <path d="M3.5 19c.4-3.2 2.6-5 5.5-5s5.1 1.8 5.5 5M16 5.300a3.2 3.2 0 0 1 0 5.600M17.5 14.400c1.8.7 2.9 2.3 3.1 4.6" />
    </>
  ),
  point: icon(
    <>
      <circle cx="15.500" cy="8.500" r="2" />
      <path d="M4.5 19.500l8-8M15.500 2.500v1.500M15.500 13v1.500M9.500 8.500h1.500M20 8.500h1.500M19.800 4.200l-1 1M11.200 4.200l1 1M19.800 12.800l-1-1" />
    </>
  ),
  comment: icon(<path d="M5 5h14a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-7l-4.5 3.500V16H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z" />),
  note: icon(<path d="M5 4h14v10l-6 6H5zM19 14h-6v6" />),
  plus: icon(<path d="M12 5v14M5 12h14" />),
  left: icon(<path d="M14.5 6 9 12l5.5 6" />),
  right: icon(<path d="M9.5 6l5.5 6-5.5 6" />),
  more: icon(<path d="M6 12h.01M12 12h.01M18 12h.01" strokeWidth="2.6" />),
  edit: icon(<path d="M5 19h3l10.5-10.5-3-3L5 16zM13 8l3 3" />),
  trash: icon(<path d="M5 7h14M10 7V4.500h4V7M7 7l.8 12.500h8.400L17 7" />),
  heart: icon(
    <path d="M12 19.500S4.5 15 4.5 9.600A3.9 3.9 0 0 1 12 7.800a3.9 3.9 0 0 1 7.5 1.800C19.5 15 12 19.5 12 19.500z" />
  ),
  check: icon(<path d="M5 12.500l4.5 4.500L19 7.5" />),
  target: icon(
    <>
      <circle cx="12" cy="12" r="6" />
      <path d="M12 3v4M12 17v4M3 12h4M17 12h4" />
    </>
  ),
  import: icon(<path d="M12 4v11M7.5 11l4.5 4.500L16.5 11M5 20h14" />),
  export: icon(<path d="M12 16V5M7.5 9L12 4.5 16.5 9M5 20h14" />),
  send: icon(<path d="M4.5 12L20 4.5 15.5 20l-4-6.500zM11.5 13.500L20 4.5" />)
} as const
