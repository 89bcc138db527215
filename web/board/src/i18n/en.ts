// English. The other dictionaries have the same keys, which the compiler checks.

const waiting = (count: number) => `Waiting here: ${count === 1 ? 'one edit' : `${count} edits`}.`

export const en = {
  // Save state
  saved: 'Saved',
  saving: 'Saving',
  offline: 'Not saved yet: reconnecting',
  readOnly: 'Read-only',
  savedHint: 'Everything is on the server.',
  savingHint: (count: number) => (count === 1 ? 'One edit is on its way.' : `${count} edits are on their way.`),
  offlineHint: (count: number) => `No connection. ${count === 0 ? 'You can go on drawing.' : waiting(count)}`,
  waiting,
  why: {
    connecting: 'Connecting',
    closed: 'The connection was lost',
    server_restarts: 'The server restarts',
    board_is_loading: 'The board is being loaded',
    busy: 'The server is busy',
    rate: 'Too many requests',
    viewer: 'You can look, but not draw',
    board_read_only: 'The server takes no edits now; what waits here is sent later',
    unauthenticated: 'Your log-in has ended: open your personal link again',
    forbidden: 'You were taken off this board: ask its teacher',
    no_board: 'This board was deleted: ask its teacher',
    other_user: 'This drawing is another person’s: come in as they',
    token: 'No valid log-in: open your personal link again',
    fault: 'Something went wrong: load the page again'
  },
  deviceFull: 'No room on this device: what is not saved yet is lost when you close this page.',
  deviceForbidden: 'This browser keeps nothing: what is not saved yet is lost when you close this page.',

  // Undo
  undo: 'Undo',
  redo: 'Redo',
  nothingToUndo: 'Nothing to undo',
  nothingToRedo: 'Nothing to redo',
  undoRests: (why: string) => `Undo rests: ${why}`,
  notConnected: 'no connection',
  undoFailed: 'That could not be undone',

  // Refusals
  refused: 'An edit was not taken',
  notTaken: (count: number) => (count === 1 ? 'One drawing was not taken.' : `${count} drawings were not taken.`),
  notTakenFile: 'not taken',
  saveAsFile: 'Save as file',
  putBack: 'This is locked or somebody else’s: it was put back',
  refusedBecause: {
    forbidden: 'Only the teacher may change this',
    board_full: 'The board is full, go on on a new one',
    too_large: 'That is too large, draw it in parts',
    bad_op: 'That does not fit on a board',
    other: 'The server did not take it, draw it again'
  },
  imageKind: 'This file is not an image that the board can show: choose a PNG, JPEG, WebP, GIF or SVG file',
  imageTooLarge:
    'This drawing is too large for the board (4 MB at most): choose a smaller one, or save it as PNG first',
  imageElsewhere: 'This image lies on another site: save it on this device first, then insert the file',
  imageRefused: 'The image was not taken: choose one of 10 MB at most, PNG, JPEG, WebP or GIF',

  // Pages
  pages: 'Pages',
  page: (number: number) => `Page ${number}`,
  addPage: 'Add page',
  renamePage: 'Rename page',
  deletePage: 'Delete page',
  pageStays: 'The page a board began with cannot be deleted',
  movePageLeft: 'Move left',
  movePageRight: 'Move right',
  pageMenu: (title: string) => `Menu of ${title}`,
  deletePageAsk: (title: string) => `Delete “${title}” with everything on it?`,
  pageTitle: 'Title of the page',
  pageFull: (count: number) => `${count} elements on this page. It gets slow; go on on a new page.`,

  // People
  people: 'People',
  point: 'Point',
  you: 'you',
  follow: 'Follow',
  following: (name: string) => `You see what ${name} sees`,
  stopFollowing: 'Stop following',

  // Comments
  comments: 'Comments',
  addComment: 'Add comment',
  commentHere: 'Click where the comment belongs',
  commentText: 'Write a comment',
  reply: 'Reply',
  send: 'Send',
  resolve: 'Resolve',
  reopen: 'Reopen',
  resolved: 'Resolved',
  like: 'Like',
  unlike: 'Take the like back',
  edit: 'Edit',
  remove: 'Delete',
  deleteCommentAsk: 'Delete this comment?',
  noComments: 'No comments yet. Select something, or a place, and say what you think.',
  noCommentsYet: 'No comments yet.',
  showResolved: (count: number) => `Show resolved (${count})`,
  goTo: 'Show on the board',
  onOtherPage: (title: string) => `on ${title}`,

  // Menu and tools
  stickyNote: 'Sticky note',
  importFile: 'Import a file',
  exportPage: 'Export this page (.excalidraw)',
  exportBoard: 'Export the whole board (.excalidraw)',
  clearPage: 'Clear this page',
  clearPageAsk: 'Delete everything on this page?',
  clearRests: (why: string) => `Clearing rests: ${why}`,
  imported: (count: number) => (count === 1 ? 'One element imported' : `${count} elements imported`),
  importFailed: 'The file could not be imported',
  exportFailed: 'The board could not be exported',

  // Dialogs
  cancel: 'Cancel',
  ok: 'OK',
  close: 'Close',
  loadAgain: 'Load again'
}
