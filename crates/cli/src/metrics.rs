//! The address where a server's metrics are read: one page, by HTTP/1.1, without secrets and without state.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Where it listens; a port alone is one of loopback.
pub(crate) fn address(text: &str) -> Result<String, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(format!("127.0.0.1:{port}")),
        Err(_) if text.contains(':') => Ok(text.to_owned()),
        Err(_) => Err("a port, or an address as in 127.0.0.1:9100, is needed".into()),
    }
}

/// Answers until it is dropped; `page` yields the text, or nothing where it cannot be made.
pub(crate) async fn serve(listener: TcpListener, page: Arc<dyn Fn() -> Option<String> + Send + Sync>) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = at_once.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    // Whoever goes away or dawdles gets nothing; there is nobody to tell.
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, page.as_ref())).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("metrics: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Most connections at once.
const AT_ONCE: usize = 8;
/// Most time for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request.
const REQUEST: usize = 8 << 10;

async fn answer(
    mut stream: TcpStream,
    page: &(dyn Fn() -> Option<String> + Send + Sync),
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            read => request.extend_from_slice(&part[..read]),
        }
        if request.len() > REQUEST {
            return stream.write_all(&response("431 Request Header Fields Too Large", "")).await;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let bytes = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics" | b"/")) => match page() {
            Some(text) => response("200 OK", &text),
            None => response("503 Service Unavailable", ""),
        },
        (Some(b"GET"), _) => response("404 Not Found", ""),
        _ => response("405 Method Not Allowed", ""),
    };
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

fn response(status: &str, text: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    [head.as_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Arc::new(|| Some("one 1\n".to_owned()))));
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        serving.abort();
        text
    }

    #[tokio::test]
    async fn one_page_is_served_and_nothing_else() {
        let page = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\none 1\n"), "{page}");
        assert!(page.contains("Content-Length: 6\r\n"), "{page}");
        assert!(ask(b"GET /other HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
        assert!(ask(b"\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    }

    #[tokio::test]
    async fn endless_requests_are_refused() {
        assert!(ask(&vec![b'x'; REQUEST + 1]).await.starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn a_port_alone_is_one_of_loopback() {
        assert_eq!(address("9100").unwrap(), "127.0.0.1:9100");
        assert_eq!(address("[::1]:9100").unwrap(), "[::1]:9100");
        assert!(address("here").is_err() && address("70000").is_err());
    }
}
