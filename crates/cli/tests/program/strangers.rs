//! Peers that are no Phineus: they cost one line, never the program.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use crate::process::{Server, asset, compile_digits, fails, succeeds};

/// Things that a stranger may say.
fn gibberish() -> Vec<Vec<u8>> {
    let mut header = u32::MAX.to_le_bytes().to_vec();
    header.extend([0; 4]);
    let mut word = 7_u64;
    let noise = std::iter::repeat_with(|| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (word >> 56) as u8
    });
    vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        vec![0; 10_000],
        header,
        vec![0xff; 3],
        noise.take(100_000).collect(),
    ]
}

#[test]
fn a_client_survives_servers_that_speak_something_else() {
    let seven = asset("digits/7.png");
    for (closes, what) in gibberish().into_iter().flat_map(|what| [(true, what.clone()), (false, what)]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (done, wait) = mpsc::channel::<()>();
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(&what);
            if !closes {
                // The connection stays open, silent, until the client has given up.
                let _ = wait.recv();
            }
        });
        fails(&[&"infer", &"--server", &address, &"--deadline", &"1", &seven], &["session.welcome"]);
        drop(done);
        stranger.join().unwrap();
    }
}

#[test]
fn a_client_says_which_server_it_cannot_reach() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (seven, pool) = (asset("digits/7.png"), folder.path().join("pool"));
    fails(&[&"infer", &"--server", &address, &seven], &["cannot reach", &address]);
    fails(&[&"prepare", &"--server", &address, &"--store", &pool], &["cannot reach", &address]);
    fails(&[&"infer", &"--server", &"no address", &seven], &["cannot reach"]);
}

#[test]
fn a_server_survives_clients_that_speak_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    // Fewer sessions than strangers: none may keep its place.
    let mut server = Server::start(&model, &[&"--deadline", &"1", &"--max-sessions", &"4"]);
    let mut open = Vec::new();
    for what in gibberish() {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let _ = stream.write_all(&what);
        open.push(stream);
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let _ = stream.write_all(&what);
        let _ = stream.shutdown(Shutdown::Both);
    }
    let text = succeeds(&[&"infer", &"--server", &server.address, &asset("digits/2.png")]);
    assert!(text.contains("class 2"), "{text}");
    drop(open);
    assert!(server.is_running());
    let log = server.kill();
    assert!(log.contains("session.hello"), "{log}");
}

#[test]
fn an_address_in_use_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    fails(&[&"serve", &model, &"--listen", &address], &["cannot listen on", &address]);
    fails(&[&"serve", &model, &"--listen", &"nonsense"], &["cannot listen on nonsense"]);
}

/// The server dies after it has sent so many bytes: in the handshake, in the offline phase, shortly before the end.
#[test]
fn a_client_whose_server_is_killed_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    for bytes in [50, 20_000, 400_000, 900_000] {
        let mut server = Server::start(&model, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let middle = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let upstream = TcpStream::connect(&server.address).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            let up = std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
            });
            std::io::copy(&mut upstream.take(bytes), &mut &client).unwrap();
            server.kill();
            let _ = client.shutdown(Shutdown::Both);
            up.join().unwrap();
        });
        fails(&[&"infer", &"--server", &address, &asset("digits/7.png")], &["closed the connection at "]);
        middle.join().unwrap();
    }
}

/// A client that vanishes in the middle takes nothing with it.
#[test]
fn a_server_whose_client_is_gone_serves_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let model = compile_digits(folder.path());
    let mut server = Server::start(&model, &[&"--max-sessions", &"1"]);
    for bytes in [60, 10_000, 200_000] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = server.address.clone();
        let middle = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let upstream = TcpStream::connect(&target).unwrap();
            let (mut from, mut to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            let down = std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
            });
            std::io::copy(&mut (&client).take(bytes), &mut &upstream).unwrap();
            let _ = upstream.shutdown(Shutdown::Both);
            let _ = client.shutdown(Shutdown::Both);
            down.join().unwrap();
        });
        fails(&[&"infer", &"--server", &address, &asset("digits/7.png")], &[]);
        middle.join().unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let text = succeeds(&[&"infer", &"--server", &server.address, &asset("digits/8.png")]);
    assert!(text.contains("class 8"), "{text}");
    server.kill();
}
