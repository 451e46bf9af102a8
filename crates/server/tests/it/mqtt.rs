//! Whose turn it is to speak to a broker. What is said there is tested with a real one, at the program.

use std::sync::Arc;

use graph::Profile;
use serde_json::json;
use server::loops;
use server::mqtt::{Bridge, MqttSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::{TENANTS, World};

const CONNECT: u8 = 0x10;
const WELCOME: [u8; 4] = [0x20, 2, 0, 0];
const FAREWELL: [u8; 2] = [0xe0, 0];

/// Welcomes the next who connects.
async fn welcome(broker: &TcpListener) -> TcpStream {
    let (mut stream, _) = broker.accept().await.unwrap();
    let mut packet = [0; 512];
    let read = stream.read(&mut packet).await.unwrap();
    assert!(read > 0 && packet[0] == CONNECT, "{packet:?}");
    stream.write_all(&WELCOME).await.unwrap();
    stream
}

#[tokio::test]
async fn of_several_over_one_store_only_whose_turn_it_is_speaks_to_the_broker() {
    let world = World::start(Profile::Graph, &[]).await;
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = broker.local_addr().unwrap().port();
    let settings = json!({ "host": "127.0.0.1", "port": port, "tls": false });
    let settings: MqttSettings = serde_json::from_value(settings).unwrap();
    let policy =
        outbound::Policy { allow: vec!["127.0.0.1".parse().unwrap()], only_listed: true, loopback: false };
    let turns: Vec<_> = (0..2).map(|_| watch::Sender::new(false)).collect();
    let mut bridges = Vec::new();
    for turn in &turns {
        let bridge = Bridge::open(
            world.app.clone(),
            TENANTS[0],
            settings.clone(),
            policy.clone(),
            turn.subscribe(),
            "test",
        );
        let bridge = Arc::new(bridge.await.unwrap());
        loops::start(loops::broker(bridge.clone(), world.stop.subscribe()));
        bridges.push(bridge);
    }
    let mut nobody = Box::pin(broker.accept());
    assert!(futures_util::poll!(&mut nobody).is_pending());
    drop(nobody);
    turns[0].send_replace(true);
    let mut first = welcome(&broker).await;
    // The turn goes to the other: the first takes its leave, and then the other comes.
    turns[0].send_replace(false);
    let mut said = Vec::new();
    first.read_to_end(&mut said).await.unwrap();
    assert!(said.ends_with(&FAREWELL), "{said:?}");
    turns[1].send_replace(true);
    let _second = welcome(&broker).await;
    while !bridges[1].status().is_connected {
        tokio::task::yield_now().await;
    }
    assert!(!bridges[0].status().is_connected);
    assert_eq!((bridges[0].status().connects, bridges[1].status().connects), (1, 1));
}
