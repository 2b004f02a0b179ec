//! Who is reached by an order, who is kept out, and who is not.

use std::collections::BTreeMap;

use super::bars::REMEMBERED;
use super::*;
use crate::model::{AtIssuer, NodeName, Peer, PrincipalKind, Recorded, Sha256, TokenFacts};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn principal(subject: &str, sid: Option<&str>, issued: Option<i64>) -> Principal {
    Principal {
        issuer: "https://i".to_owned(),
        subject: subject.to_owned(),
        kind: PrincipalKind::Person,
        display: None,
        email: Some(format!("{subject}@Example.com")),
        roles: Vec::new(),
        groups: Vec::new(),
        token: TokenFacts {
            sha256: Sha256::of(b""),
            kid: None,
            jti: None,
            issued: issued.map(at),
            expires: at(9_999_999),
            at_issuer: AtIssuer { sub: Some(format!("pairwise-{subject}")), sid: sid.map(str::to_owned) },
        },
        claims: BTreeMap::new(),
    }
}

fn session(number: u64, principal: Principal) -> Session {
    Session {
        id: SessionId::from_bits(number),
        node: NodeName::new("node".to_owned()).unwrap(),
        opened: at(i64::try_from(number).unwrap()),
        principal,
        peer: Peer {
            address: "10.0.0.1:5".parse().unwrap(),
            balancer: None,
            tls_version: None,
            application: None,
            client_certificate: None,
        },
        target: "app".to_owned(),
        protocol: "postgresql".to_owned(),
        database: "app".to_owned(),
        database_user: "app".to_owned(),
        rules: Vec::new(),
        policy_version: String::new(),
        recorded: Recorded::Flushed,
    }
}

fn issuer() -> String {
    "https://i".to_owned()
}

fn logout() -> Order {
    Order::Revoke { issuer: "main".to_owned(), why: "by a logout".to_owned() }
}

#[tokio::test]
async fn an_order_reaches_exactly_those_it_names_and_once() {
    let roster = Arc::new(Roster::default());
    let comes = |number, subject: &str, sid, issued| {
        roster.enter(session(number, principal(subject, sid, issued)), Papers::default())
    };
    let ana_old = comes(1, "ana", Some("s1"), Some(10));
    let ana_new = comes(2, "ana", Some("s2"), Some(30));
    let ana_undated = comes(3, "ana", None, None);
    let bob = comes(4, "bob", Some("s3"), Some(10));
    let ids = |told: Vec<Arc<Session>>| {
        let mut ids: Vec<i64> = told.iter().map(|session| session.opened.seconds()).collect();
        ids.sort_unstable();
        ids
    };
    let account = Holder::Account { issuer: issuer(), sub: "pairwise-ana".to_owned() };
    let up_to_20 = Whom::Holders(account.clone(), Some(at(20)));
    assert_eq!(ids(roster.end(&up_to_20, &logout())), [1, 3], "a token that does not say when it was issued is meant");
    assert_eq!(ids(roster.end(&Whom::Holders(account, None), &logout())), [2], "those told before are not told again");
    let elsewhere = Holder::SignIn { issuer: "https://other".to_owned(), sid: "s3".to_owned() };
    assert_eq!(ids(roster.end(&Whom::Holders(elsewhere, None), &logout())), [0_i64; 0]);
    let sign_in = Holder::SignIn { issuer: issuer(), sid: "s3".to_owned() };
    assert_eq!(ids(roster.end(&Whom::Holders(sign_in, None), &logout())), [4]);
    for ended in [&ana_old, &ana_new, &ana_undated, &bob] {
        assert_eq!(ended.ordered().await, &logout());
    }
    let kill = Order::Kill { by: "sam".to_owned(), why: "CHG-1".to_owned() };
    let carol = comes(5, "carol", None, Some(10));
    assert_eq!(ids(roster.end(&Whom::Session(carol.session().id), &kill)), [5]);
    assert_eq!(carol.ordered().await.reason(), CloseReason::Killed);
    let read = kill.refusal(carol.session().id).message;
    assert!(read.starts_with("hansard: session closed on purpose by sam: CHG-1 (ref "), "{read}");
}

#[test]
fn who_has_left_is_not_on_the_roster() {
    let roster = Arc::new(Roster::default());
    let (later, sooner) = (session(7, principal("ana", None, None)), session(6, principal("bob", None, None)));
    let here = (roster.enter(later, Papers::default()), roster.enter(sooner, Papers::default()));
    let listed = || roster.list().iter().map(|seen| seen.session.opened.seconds()).collect::<Vec<_>>();
    assert_eq!(listed(), [6, 7]);
    assert_eq!(roster.list()[0].state, State::Arriving);
    let id = here.1.session().id;
    assert!(roster.find(id).is_some());
    drop(here.1);
    assert_eq!(listed(), [7]);
    assert!(roster.find(id).is_none());
    assert!(roster.end(&Whom::Session(id), &logout()).is_empty());
}

#[test]
fn a_token_that_was_taken_back_lets_nobody_in_and_a_newer_one_does() {
    let roster = Roster::default();
    let holders = [
        Holder::Account { issuer: issuer(), sub: "pairwise-ana".to_owned() },
        Holder::Email { issuer: issuer(), email: "ANA@example.com".to_owned() },
        Holder::Subject { issuer: issuer(), subject: "ana".to_owned() },
    ];
    for holder in holders {
        let roster = Roster::default();
        roster.bar(Bar::taken_back(holder, at(20), ("main", "by a logout"), at(21)), at(21)).unwrap();
        let barred = |issued, now| roster.bar_of(&principal("ana", None, issued), at(now)).is_some();
        assert!(barred(Some(10), 22) && barred(Some(20), 22) && barred(None, 22));
        assert!(!barred(Some(21), 22));
        assert!(roster.bar_of(&principal("bob", None, Some(10)), at(22)).is_none());
        let forgotten = 21 + i64::try_from(REMEMBERED.as_secs()).unwrap();
        assert!(barred(Some(10), forgotten - 1) && !barred(Some(10), forgotten));
        assert!(roster.bars(at(forgotten)).is_empty());
    }
    // What comes late, or twice, takes nothing back of what came before.
    let account = || Holder::Account { issuer: issuer(), sub: "pairwise-ana".to_owned() };
    for issued in [20, 10] {
        roster.bar(Bar::taken_back(account(), at(issued), ("main", "by a logout"), at(21)), at(21)).unwrap();
    }
    assert!(roster.bar_of(&principal("ana", None, Some(15)), at(22)).is_some());
}

#[test]
fn who_is_blocked_comes_in_with_no_token_until_it_is_over_or_lifted() {
    let roster = Roster::default();
    let holder = || Holder::Subject { issuer: issuer(), subject: "ana".to_owned() };
    let block = || Bar::blocked(holder(), ("sam", "CHG-1"), at(100), Duration::from_secs(60));
    roster.bar(block(), at(100)).unwrap();
    let barred = |now| roster.bar_of(&principal("ana", None, Some(now)), at(now)).is_some();
    assert!(barred(101) && barred(159) && !barred(160));
    assert_eq!(roster.bars(at(101)), [block()]);
    assert!(roster.lift(&holder()) && !roster.lift(&holder()));
    assert!(!barred(101));
    // After a restart.
    assert!(Roster::new(vec![block()], None).bar_of(&principal("ana", None, Some(1)), at(101)).is_some());
}

#[test]
fn one_principal_has_no_more_sessions_than_the_limit_and_may_come_again_when_one_has_left() {
    let roster = Arc::new(Roster::new(Vec::new(), Some(2)));
    let over = |subject| roster.over_limit(&principal(subject, None, None));
    let comes = |number, subject| roster.enter(session(number, principal(subject, None, None)), Papers::default());
    let here = [comes(1, "ana"), comes(2, "ana"), comes(3, "bob")];
    assert_eq!((over("ana"), over("bob"), over("carol")), (None, None, None));
    let third = comes(4, "ana");
    assert_eq!((over("ana"), over("bob")), (Some(2), None));
    drop(third);
    assert_eq!(over("ana"), None);
    drop(here);
    assert!(roster.of_each().is_empty());
}
