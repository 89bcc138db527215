//! Contents of images: data URLs of a file in and out, named by SHA-256.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::ImportedAsset;
use crate::protocol::ids::EntryId;

/// Name that the parts of `files` go by in the `extra` of the page.
const SHA256: &str = "sha256";
const DATA_URL: &str = "dataURL";

/// Contents found in a file, and what must be remembered to write `files` again as it was.
#[derive(Default)]
pub(super) struct Files {
    pub(super) assets: Vec<ImportedAsset>,
    /// File id -> `{sha256, ...}` and all that the file said of it but the content.
    pub(super) remembered: Map<String, Json>,
    by_file_id: HashMap<String, EntryId>,
}

impl Files {
    /// Takes the `files` of a board apart. A file whose content is not in it is kept as it stands, with a note.
    pub(super) fn read(files: Map<String, Json>, notes: &mut Vec<String>) -> Self {
        let (mut found, mut contents) = (Self::default(), HashSet::new());
        for (file_id, mut file) in files {
            let url = file.get(DATA_URL).and_then(Json::as_str).unwrap_or_default();
            if let Some((mime_type, bytes)) = parse_data_url(url) {
                let sha256 = EntryId::new(hex(&Sha256::digest(&bytes))).expect("64 hex digits are an id");
                let said = file.get("mimeType").and_then(Json::as_str).unwrap_or(&mime_type);
                let is_exact = data_url(said, &bytes) == url;
                if let Json::Object(file) = &mut file {
                    if is_exact {
                        file.shift_remove(DATA_URL);
                    }
                    file.insert(SHA256.to_owned(), sha256.as_str().into());
                }
                if contents.insert(sha256.shared()) {
                    found.assets.push(ImportedAsset {
                        file_id: file_id.as_str().into(),
                        sha256: sha256.clone(),
                        mime_type,
                        bytes,
                        created: file.get("created").and_then(Json::as_u64),
                    });
                }
                found.by_file_id.insert(file_id.clone(), sha256);
            } else {
                notes.push(format!("file {file_id:?} has no content in it; its image stays empty"));
            }
            found.remembered.insert(file_id, file);
        }
        found
    }

    /// The content that a file id of an element stands for.
    pub(super) fn sha256(&self, file_id: &str) -> Option<Arc<str>> {
        self.by_file_id.get(file_id).map(EntryId::shared)
    }
}

/// The `files` of an export: those remembered from an import, then those that elements name (file id -> content).
pub(super) fn write(
    remembered: Option<&Map<String, Json>>,
    named: &[(String, String, Option<Json>)],
    asset: &dyn Fn(&str) -> Option<(String, bytes::Bytes)>,
) -> Map<String, Json> {
    let mut files = Map::new();
    for (file_id, file) in remembered.into_iter().flatten() {
        let mut file = file.clone();
        if let Json::Object(parts) = &mut file {
            let sha256 = parts.shift_remove(SHA256);
            let content = sha256
                .as_ref()
                .and_then(Json::as_str)
                .filter(|_| !parts.contains_key(DATA_URL));
            if let Some((mime_type, bytes)) = content.and_then(asset) {
                // The file may name another type than its content has: its own word is written again.
                let said = parts
                    .get("mimeType")
                    .and_then(Json::as_str)
                    .unwrap_or(&mime_type)
                    .to_owned();
                parts.insert(DATA_URL.to_owned(), data_url(&said, &bytes).into());
            }
        }
        files.insert(file_id.clone(), file);
    }
    for (file_id, sha256, created) in named {
        if files.contains_key(file_id) {
            continue;
        }
        if let Some((mime_type, bytes)) = asset(sha256) {
            let file = json!({
                "mimeType": mime_type,
                "id": file_id,
                "dataURL": data_url(&mime_type, &bytes),
                "created": created.clone().unwrap_or_else(|| json!(1)),
            });
            files.insert(file_id.clone(), file);
        }
    }
    files
}

fn data_url(mime_type: &str, bytes: &[u8]) -> String {
    format!("data:{mime_type};base64,{}", BASE64.encode(bytes))
}

/// Media type and content of a data URL, in base64 or with percent signs.
pub(super) fn parse_data_url(url: &str) -> Option<(String, Vec<u8>)> {
    let (head, body) = url.strip_prefix("data:")?.split_once(',')?;
    let mime_type = head.split(';').next().unwrap_or_default();
    let bytes = if head.ends_with(";base64") {
        BASE64.decode(body.trim()).ok()?
    } else {
        percent_decoded(body)
    };
    (!mime_type.is_empty() && !bytes.is_empty()).then(|| (mime_type.to_owned(), bytes))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
}
