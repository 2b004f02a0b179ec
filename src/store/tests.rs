//! Put once, whoever races and whatever was left behind.

use std::fs;
use std::path::Path as FilePath;

use object_store::{MultipartUpload, PutMultipartOptions, PutPayload};

use super::worm::{Call, Worm};
use super::*;

fn settings(url: impl Into<String>) -> StoreSettings {
    StoreSettings { url: url.into(), azure: AzureSettings::default() }
}

fn folder(path: &FilePath) -> Store {
    Store::open(&settings(format!("file://{}", path.display()))).unwrap()
}

const NAME: &str = "statements/date=2026-11-24/node-1-000000000001.parquet";

#[tokio::test]
async fn the_same_bytes_again_are_fine_and_others_contradict() {
    let dir = tempfile::tempdir().unwrap();
    for store in [folder(dir.path()), Store::in_memory(), Store::over(Arc::new(Worm::default()))] {
        assert_eq!(store.put_once(NAME, Bytes::from_static(b"one")).await.unwrap(), Put::Stored);
        assert_eq!(store.put_once(NAME, Bytes::from_static(b"one")).await.unwrap(), Put::AlreadyThere);
        let error = store.put_once(NAME, Bytes::from_static(b"two")).await.unwrap_err();
        assert!(matches!(&error, StoreError::Conflict { name } if name == NAME), "{error}");
        assert!(!error.retryable());
        assert_eq!(store.get(NAME).await.unwrap(), Bytes::from_static(b"one"));
        assert!(matches!(store.get("statements/none").await, Err(StoreError::Missing { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_creates_one_stores_and_the_others_see_it() {
    let dir = tempfile::tempdir().unwrap();
    for store in [folder(dir.path()), Store::in_memory(), Store::over(Arc::new(Worm::default()))] {
        let racers: Vec<_> = (0..16)
            .map(|number| {
                let store = store.clone();
                let bytes = Bytes::from(vec![number % 2; 100_000]);
                tokio::spawn(async move { store.put_once(NAME, bytes).await })
            })
            .collect();
        let mut stored = 0;
        let mut contradicted = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(Put::Stored) => stored += 1,
                Ok(Put::AlreadyThere) => {}
                Err(StoreError::Conflict { .. }) => contradicted += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((stored, contradicted), (1, 8));
        assert_eq!(store.list("").await.unwrap(), [Listed { name: NAME.to_owned(), bytes: 100_000 }]);
    }
    let left = fs::read_dir(dir.path().join("statements/date=2026-11-24")).unwrap().count();
    assert_eq!(left, 1, "no staging file is left");
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_neither_seen_nor_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = folder(dir.path());
    let staging = dir.path().join(format!("{NAME}#1"));
    fs::create_dir_all(staging.parent().unwrap()).unwrap();
    fs::write(&staging, b"hal").unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(store.put_once(NAME, Bytes::from_static(b"half")).await.unwrap(), Put::Stored);
    assert_eq!(store.list("statements").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_put_leaves_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let store = folder(dir.path());
    fs::write(dir.path().join("statements"), b"in the way").unwrap();
    let error = store.put_once(NAME, Bytes::from_static(b"one")).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    fs::remove_file(dir.path().join("statements")).unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(store.put_once(NAME, Bytes::from_static(b"one")).await.unwrap(), Put::Stored);
}

#[tokio::test]
async fn a_folder_may_have_odd_characters_and_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a%20b/%C3%BC%231%25", dir.path().display());
    let store = Store::open(&settings(url)).unwrap();
    store.put_once(NAME, Bytes::from_static(b"one")).await.unwrap();
    assert!(dir.path().join("a b/ü#1%").join(NAME).is_file());
    assert_eq!(store.list("statements").await.unwrap(), [Listed { name: NAME.to_owned(), bytes: 3 }]);
    assert_eq!(store.get(NAME).await.unwrap(), Bytes::from_static(b"one"));
    assert_eq!(store.list("log/none").await.unwrap(), []);
}

#[tokio::test]
async fn names_cannot_leave_the_archive() {
    let store = Store::in_memory();
    for name in ["", "/etc", "../x", "a/../b", "a//b", "a/.hidden", "a b", "a#1", "ü", "a\\b", "a%2e"] {
        let error = store.put_once(name, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, StoreError::Name { .. }), "{name}: {error}");
    }
}

#[test]
fn settings_that_cannot_work_are_told_at_once() {
    for (url, says) in [
        ("s3://bucket", "file:/// or az://"),
        ("file://relative", "three"),
        ("file:///a%2", "hexadecimal"),
        ("file:///a?b", "%3F"),
        ("az://UPPER/x", "container"),
        ("az://archive/x", "account"),
    ] {
        let error = Store::open(&settings(url)).unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
    }
    let azure = |endpoint: &str, allow_http| AzureSettings {
        account: Some("devstoreaccount1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        allow_http,
        credential: AzureCredential::AccessKey(Secret::new("c2VjcmV0")),
    };
    let open = |azure| Store::open(&StoreSettings { url: "az://archive/a/b%20c".to_owned(), azure });
    assert!(open(azure("http://127.0.0.1:10000/devstoreaccount1", false)).is_err());
    assert!(open(azure("http://127.0.0.1:10000/devstoreaccount1", true)).is_ok());
    assert!(open(azure("https://127.0.0.1", false)).is_ok());
}

#[test]
fn no_secret_is_printed() {
    let secret = Secret::new("hunter2");
    let settings = AzureSettings { credential: AzureCredential::Sas(secret), ..AzureSettings::default() };
    assert!(!format!("{settings:?}").contains("hunter2"));
    let message = without_secrets("GET https://a/b?sv=1&sig=AB%2Bc%3D&se=2 failed, then ?sig=xyz");
    assert_eq!(message, "GET https://a/b?sv=1&sig=…&se=2 failed, then ?sig=…");
}

#[test]
fn a_container_that_is_missing_may_still_be_made_and_an_error_is_one_line() {
    let missing = object_store::Error::NotFound { path: NAME.to_owned(), source: "<Error>\n  <Code>x".into() };
    assert!(matches!(StoreError::from(&missing, READ, NAME), StoreError::Missing { .. }));
    let put = StoreError::from(&missing, "store", NAME);
    assert!(put.retryable());
    assert!(put.to_string().ends_with("<Error> <Code>x"), "{put}");
}

/// Whether the immutable container ended whoever tried this.
async fn forbids<T: Send + 'static>(attempt: impl Future<Output = T> + Send + 'static) -> bool {
    tokio::spawn(attempt).await.is_err_and(|ended| ended.is_panic())
}

async fn upload(worm: Worm, name: Path) -> object_store::Result<object_store::PutResult> {
    let mut upload = worm.put_multipart_opts(&name, PutMultipartOptions::default()).await?;
    upload.put_part(PutPayload::from_static(b"part")).await?;
    upload.complete().await
}

#[tokio::test]
async fn the_immutable_container_of_the_tests_forbids_what_azure_forbids() {
    let worm = Worm::default();
    let store = Store::over(Arc::new(worm.clone()));
    store.put_once(NAME, Bytes::from_static(b"one")).await.unwrap();
    let taken = || Path::from(NAME);
    let free = Path::from("free");
    let w = worm.clone();
    assert!(forbids(async move { w.put(&taken(), "two".into()).await }).await, "overwrite");
    let (w, to) = (worm.clone(), free.clone());
    assert!(forbids(async move { w.put(&to, "two".into()).await }).await, "a put that could overwrite");
    let w = worm.clone();
    assert!(forbids(async move { w.delete(&taken()).await }).await, "delete");
    let (w, to) = (worm.clone(), free.clone());
    assert!(forbids(async move { w.rename(&taken(), &to).await }).await, "rename");
    let (w, to) = (worm.clone(), free.clone());
    assert!(forbids(async move { w.copy(&to, &taken()).await }).await, "copy over");
    assert!(forbids(upload(worm.clone(), taken())).await, "an upload over");
    upload(worm.clone(), free.clone()).await.unwrap();
    worm.copy_if_not_exists(&free, &Path::from("copy")).await.unwrap();
    assert_eq!(store.get(NAME).await.unwrap(), Bytes::from_static(b"one"));
    let created = |name: &str| Call::Create(name.to_owned(), true);
    let expected = [created(NAME), created("free"), created("copy"), Call::Get(NAME.to_owned())];
    assert_eq!(worm.calls(), expected);
}
