//! A database that speaks TLS: who it is gets checked, and nothing is said to anybody else.

use panseo::server::clock;
use panseo::store::postgres::{PostgresStore, Settings, Topic};

use crate::postgres_schema::Schema;
use crate::support::servers::{Database, strange_authority};

async fn open(url: &str, mode: &str) -> Result<PostgresStore, String> {
    let assets = tempfile::tempdir().unwrap();
    let settings = Settings {
        url: format!("{url}?{mode}"),
        assets: assets.path().to_str().unwrap().to_owned(),
        topic: Topic {
            name: "edits".to_owned(),
            partitions: 1,
            not_new: None,
        },
        now: clock(),
    };
    PostgresStore::open(settings).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_believed_if_its_certificate_is_and_no_other_way() {
    // Where tests have a database, they may have another one.
    if Schema::make().await.is_none() {
        return;
    }
    let (database, authority) = tokio::task::block_in_place(Database::with_tls);
    let authority = authority.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = strange_authority(folder.path());
    let mode = format!("sslmode=verify-full&sslrootcert={}", other.display());
    let refused = open(&database.url, &mode).await;
    let why = refused.expect_err("nobody knows who has signed it");
    assert!(why.contains("certificate"), "{why}");
    let opened = open(&database.url, &format!("sslmode=verify-full&sslrootcert={authority}")).await;
    assert!(opened.is_ok(), "{:?}", opened.err());

    let plain = tokio::task::block_in_place(Database::start);
    let why = open(&plain.url, "sslmode=require").await.expect_err("it speaks no TLS");
    assert!(why.contains("TLS") || why.contains("SSL"), "{why}");
}
