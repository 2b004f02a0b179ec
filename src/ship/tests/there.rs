//! What stands in the archive already under a name of ours.

use super::*;
use crate::segment::tests::encoded_anew;

#[tokio::test]
async fn another_content_under_our_name_stops_shipping_and_loses_nothing() {
    for place in Place::each() {
        let (mut journal, store) = (place.journal(), place.store.clone());
        journal.append(story()).await.unwrap();
        let name = "statements/date=1970-01-01/node-1-000000000001.parquet";
        store.put_once(name, Bytes::from_static(b"another recorder's")).await.unwrap();
        let shipper = shipper(&journal, &store, 1 << 20);
        let handle = shipper.handle();
        let (ended, finished) = tokio::join!(shipper.run(CancellationToken::new()), handle.finish());
        assert!(matches!(ended, Err(ShipError::Store(StoreError::Conflict { .. }))), "{ended:?}");
        assert!(matches!(finished, Err(ShipError::Gone)));
        assert!(handle.status().borrow().stopped.as_ref().unwrap().contains("another content"));
        assert_eq!(store.list("log").await.unwrap(), []);
        assert_eq!(journal.reader().next(EntrySeq(1)).unwrap().unwrap().seq, EntrySeq(1));
        // It is on record when `run` ends, and a restart that finds the same says nothing new.
        for _ in 0..2 {
            let told = conflicts(&journal);
            assert!(told.len() == 1 && told[0].contains(name), "{told:?}");
            journal.close().await;
            journal = place.journal();
            let ended = self::shipper(&journal, &store, 1 << 20).run(CancellationToken::new()).await;
            assert!(matches!(ended, Err(ShipError::Store(StoreError::Conflict { .. }))), "{ended:?}");
        }
        if place.kind == Kind::Folder {
            // Somebody settles it where that is possible, and the record of it is shipped with the rest.
            std::fs::remove_file(place.dir.path().join("archive").join(name)).unwrap();
            journal.append(vec![event(RecorderEventKind::Started)]).await.unwrap();
            finish(&journal, &store, 1 << 20).await;
            let archive = Archive::of(&store).await;
            assert_eq!(archive.column("events", "kind"), ["archive_conflict", "started", "started"]);
            assert_eq!(archive.column("statements", "reference").len(), 21);
        }
    }
}

#[tokio::test]
async fn the_same_rows_in_a_file_of_another_version_are_taken_as_they_are() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        journal.append(story()).await.unwrap();
        // Another archive tells what an earlier version would have stored.
        let before = Store::in_memory();
        finish(&journal, &before, 1 << 20).await;
        journal.close().await;
        let name = "statements/date=1970-01-01/node-1-000000000001.parquet";
        let other = encoded_anew(&before.get(name).await.unwrap());
        store.put_once(name, other.clone()).await.unwrap();
        let again = Place::new(place.kind);
        let journal = again.journal();
        journal.append(story()).await.unwrap();
        finish(&journal, &store, 1 << 20).await;
        let archive = Archive::of(&store).await;
        archive.assert_tells_the_story();
        assert_eq!(archive.parquet[name], other, "it stays as it was");
    }
}
