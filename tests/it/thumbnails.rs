//! Pictures over REST: who gets them, what they show, and when they are drawn anew.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use panseo::http::assets::sha256_hex;
use panseo::protocol::ids::Role;
use serde_json::json;

use crate::support::node::{Answer, Node, answer, token};

const PICTURES: [&str; 3] = ["export.svg", "export.png", "thumbnail.png"];

fn pixels(answer: &Answer) -> RgbImage {
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/png"));
    image::load_from_memory_with_format(&answer.bytes, ImageFormat::Png)
        .unwrap()
        .into_rgb8()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_is_handed_out_as_svg_and_png() {
    let node = Node::open().await;
    node.draw("/v1/boards/lesson/ops", "a").await;
    let svg = node.get("/v1/boards/lesson/export.svg").await;
    assert_eq!((svg.status, svg.header("content-type")), (200, "image/svg+xml"));
    assert_eq!(svg.header("content-disposition"), "attachment; filename=\"lesson.svg\"");
    assert!(svg.header("content-security-policy").starts_with("default-src 'none'"));
    let text = String::from_utf8(svg.bytes).unwrap();
    assert!(
        text.contains("viewBox=\"0 0 23 24\"") && text.contains("data-id=\"a\""),
        "{text}"
    );

    let png = pixels(&node.get("/v1/boards/lesson/export.png?width=230").await);
    assert_eq!(png.dimensions(), (230, 240));
    assert!(png.pixels().any(|pixel| *pixel != Rgb([255; 3])));

    let gif = node.get("/v1/boards/lesson/export.gif").await;
    assert_eq!(gif.problem(), (404, "not_found".into()));

    for (query, problem) in [
        ("width=15", (400, "bad_request")),
        ("width=8193", (400, "bad_request")),
        ("page=nowhere", (404, "not_found")),
    ] {
        let refused = node
            .get(&format!("/v1/boards/lesson/export.png?{query}"))
            .await
            .problem();
        assert_eq!(refused, (problem.0, problem.1.to_owned()), "{query}");
    }
    let metrics = String::from_utf8(node.get("/metrics").await.bytes).unwrap();
    assert!(metrics.contains("panseo_picture_duration_seconds"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_see_the_board_sees_its_picture() {
    let node = Node::with_tokens().await;
    let of = |user: &str, role| token(user, Some(&[("lesson", role)]));
    let made = node.ask("POST", "/v1/boards").bearer_auth(token("ada", None));
    let made = answer(made.json(&json!({ "id": "lesson" }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    for name in PICTURES {
        let path = format!("/v1/boards/lesson/{name}");
        assert_eq!(node.get(&path).await.status, 400);
        let stranger = token("eve", Some(&[("other", Role::Teacher)]));
        assert_eq!(answer(node.ask("GET", &path).bearer_auth(stranger)).await.status, 403);
        let viewer = node.ask("GET", &path).bearer_auth(of("bob", Role::Viewer));
        assert_eq!(answer(viewer).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbnail_is_kept_until_the_board_changes() {
    let node = Node::open().await;
    let path = "/v1/boards/lesson/thumbnail.png";
    node.draw("/v1/boards/lesson/ops", "a").await;
    let first = node.get(path).await;
    assert_eq!(first.header("cache-control"), "private, no-cache");
    assert!(pixels(&first).width() <= 480);
    let ask_again = || node.ask("GET", path).header("if-none-match", first.header("etag"));
    node.draw("/v1/boards/other/ops", "x").await;
    let same = answer(ask_again()).await;
    assert_eq!((same.status, same.bytes.len()), (304, 0), "another board changed");

    let wide = json!({ "op": "element.create", "element": { "id": "b", "type": "ellipse", "x": 0, "y": 0, "width": 900, "height": 90 } });
    let drawn = node
        .send("POST", "/v1/boards/lesson/ops", json!({ "ops": [wide] }))
        .await;
    assert_eq!(drawn.status, 200, "{drawn:?}");
    let second = answer(ask_again()).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_ne!(second.header("etag"), first.header("etag"));
    assert_eq!(pixels(&second).width(), 480);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_board_does_not_show_the_thumbnail_of_a_deleted_one() {
    let node = Node::open().await;
    let path = "/v1/boards/lesson/thumbnail.png";
    node.draw("/v1/boards/lesson/ops", "secret").await;
    let first = node.get(path).await;
    assert_eq!(
        node.ask("DELETE", "/v1/boards/lesson").send().await.unwrap().status(),
        204
    );
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    let second = answer(node.ask("GET", path).header("if-none-match", first.header("etag"))).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_ne!(pixels(&second), pixels(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_the_board_is_in_its_picture() {
    let node = Node::open().await;
    let mut red = Cursor::new(Vec::new());
    RgbImage::from_pixel(600, 600, Rgb([255, 0, 0]))
        .write_to(&mut red, ImageFormat::Png)
        .unwrap();
    let red = red.into_inner();
    let sha256 = sha256_hex(&red);
    node.draw("/v1/boards/lesson/ops", "a").await;
    let kept = node.ask("PUT", &format!("/v1/boards/lesson/assets/{sha256}")).body(red);
    assert_eq!(answer(kept).await.status, 200);
    let ops = json!({ "ops": [
        { "op": "asset.add", "sha256": sha256 },
        { "op": "element.create", "element":
            { "id": "i", "type": "image", "x": 100, "y": 100, "width": 50, "height": 50, "fileId": sha256 } },
    ] });
    let placed = node.send("POST", "/v1/boards/lesson/ops", ops).await;
    assert_eq!(placed.status, 200, "{placed:?}");
    let png = pixels(&node.get("/v1/boards/lesson/export.png").await);
    let reds = png.pixels().filter(|pixel| **pixel == Rgb([255, 0, 0])).count();
    assert!((2_000..=2_500).contains(&reds), "{reds} red pixels");
    let svg = String::from_utf8(node.get("/v1/boards/lesson/export.svg").await.bytes).unwrap();
    assert_eq!(svg.matches("data:image/png;base64,").count(), 1);
}
