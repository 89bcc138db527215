// Korean.

import type { Dictionary } from './index'

export const ko: Dictionary = {
  saved: '저장됨',
  saving: '저장 중',
  offline: '아직 저장되지 않음: 다시 연결 중',
  readOnly: '읽기 전용',
  savedHint: '모든 내용이 서버에 저장되었습니다.',
  savingHint: (count) => `변경 ${count}건을 보내는 중입니다.`,
  offlineHint: (count) =>
    count === 0
      ? '연결이 끊겼습니다. 계속 그릴 수 있습니다.'
      : `연결이 끊겼습니다. 변경 ${count}건이 이 기기에서 기다리고 있습니다.`,
  why: {
    connecting: '연결하는 중',
    closed: '연결이 끊겼습니다',
    server_restarts: '서버를 다시 시작하는 중입니다',
    board_is_loading: '칠판을 불러오는 중입니다',
    busy: '서버가 바쁩니다',
    rate: '요청이 너무 많습니다',
    viewer: '볼 수만 있고 그릴 수는 없습니다',
    board_read_only: '지금은 서버가 변경을 받지 않습니다. 기다리는 변경은 나중에 보냅니다',
    unauthenticated: '로그인이 끝났습니다. 개인 링크를 다시 열어 주세요',
    forbidden: '이 칠판의 명단에서 빠졌습니다. 선생님께 물어보세요',
    no_board: '이 칠판은 지워졌습니다. 선생님께 물어보세요',
    other_user: '이 그림은 다른 사용자의 것입니다. 그 사람으로 들어오세요',
    token: '로그인이 올바르지 않습니다. 개인 링크를 다시 열어 주세요',
    fault: '문제가 생겼습니다. 페이지를 다시 불러와 주세요'
  },
  deviceFull: '이 기기에 남은 공간이 없습니다. 저장되지 않은 내용은 이 페이지를 닫으면 사라집니다.',
  deviceForbidden: '이 브라우저는 내용을 보관하지 않습니다. 저장되지 않은 내용은 이 페이지를 닫으면 사라집니다.',

  undo: '실행 취소',
  redo: '다시 실행',
  nothingToUndo: '취소할 것이 없습니다',
  nothingToRedo: '다시 실행할 것이 없습니다',
  undoRests: (why) => `지금은 취소할 수 없습니다: ${why}`,
  notConnected: '연결 없음',
  undoFailed: '취소하지 못했습니다',

  refused: '변경이 받아들여지지 않았습니다',
  putBack: '잠겨 있거나 다른 사람의 것이라 되돌렸습니다',
  refusedBecause: {
    forbidden: '이것은 선생님만 바꿀 수 있습니다',
    board_full: '칠판이 가득 찼습니다. 새 칠판에서 이어 가세요',
    too_large: '너무 큽니다. 나누어 그려 주세요',
    bad_op: '칠판에 넣을 수 없는 내용입니다',
    other: '서버가 받아들이지 않았습니다. 다시 그려 주세요'
  },
  imageKind: '칠판에 넣을 수 있는 이미지가 아닙니다. PNG, JPEG, WebP, GIF, SVG 파일을 골라 주세요',
  imageTooLarge: '칠판에 넣기에는 너무 큰 그림입니다(4MB 이하). 더 작은 그림을 고르거나 PNG로 저장해서 넣어 주세요',
  imageElsewhere: '다른 사이트에 있는 이미지입니다. 먼저 이 기기에 저장한 다음 그 파일을 넣어 주세요',
  imageRefused: '이미지를 넣지 못했습니다. 10MB 이하의 PNG, JPEG, WebP, GIF를 골라 주세요',

  pages: '페이지',
  page: (number) => `${number}쪽`,
  addPage: '페이지 추가',
  renamePage: '이름 바꾸기',
  deletePage: '페이지 삭제',
  movePageLeft: '왼쪽으로',
  movePageRight: '오른쪽으로',
  pageMenu: (title) => `${title} 메뉴`,
  deletePageAsk: (title) => `“${title}”와 그 안의 모든 것을 삭제할까요?`,
  pageTitle: '페이지 이름',
  pageFull: (count) => `이 페이지에 요소가 ${count}개 있어 느려집니다. 새 페이지에서 이어 가세요.`,

  people: '참여자',
  you: '나',
  follow: '따라가기',
  following: (name) => `${name} 님의 화면을 보는 중`,
  stopFollowing: '그만 따라가기',

  comments: '댓글',
  addComment: '댓글 달기',
  commentHere: '댓글을 달 곳을 누르세요',
  commentText: '댓글 쓰기',
  reply: '답글',
  send: '보내기',
  resolve: '해결',
  reopen: '다시 열기',
  resolved: '해결됨',
  like: '좋아요',
  unlike: '좋아요 취소',
  edit: '고치기',
  remove: '삭제',
  deleteCommentAsk: '이 댓글을 삭제할까요?',
  noComments: '아직 댓글이 없습니다. 요소나 자리를 골라 의견을 남기세요.',
  noCommentsYet: '아직 댓글이 없습니다.',
  showResolved: (count) => `해결된 댓글 보기 (${count})`,
  goTo: '칠판에서 보기',
  onOtherPage: (title) => `${title}에서`,

  stickyNote: '메모지',
  importFile: '파일 가져오기',
  exportPage: '이 페이지 내보내기 (.excalidraw)',
  exportBoard: '칠판 전체 내보내기 (.excalidraw)',
  clearPage: '이 페이지 비우기',
  clearPageAsk: '이 페이지의 모든 것을 삭제할까요?',
  imported: (count) => `요소 ${count}개를 가져왔습니다`,
  importFailed: '파일을 가져오지 못했습니다',
  exportFailed: '칠판을 내보내지 못했습니다',
  boardArea: '칠판',

  cancel: '취소',
  ok: '확인',
  close: '닫기'
}
