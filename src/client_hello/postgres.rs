//! The requests that a client of PostgreSQL may send before its ClientHello ("Message Formats" and "SSL Session
//! Encryption" in PostgreSQL's manual).

/// The length of a request for encryption, in bytes. Every other message that may come first is longer.
pub const POSTGRES_REQUEST: usize = 8;
/// The request that asks whether TLS may begin: its length, and 80877103.
pub const SSL_REQUEST: [u8; POSTGRES_REQUEST] = [0, 0, 0, 8, 4, 210, 22, 47];
/// The request that asks whether GSSAPI encryption may begin: its length, and 80877104.
const GSSENC_REQUEST: [u8; POSTGRES_REQUEST] = [0, 0, 0, 8, 4, 210, 22, 48];
/// The code of a request to cancel a query, 80877102.
const CANCEL_CODE: [u8; 4] = [4, 210, 22, 46];

/// The first message of a client of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresRequest {
    /// SSLRequest: may TLS begin?
    Tls,
    /// GSSENCRequest: may GSSAPI encryption begin?
    Gssapi,
    /// CancelRequest, which ends a query of another connection.
    Cancel,
    /// StartupMessage: a session without encryption.
    Startup,
}

impl PostgresRequest {
    /// The request that begins with `start`; `None` if it is not PostgreSQL's.
    pub fn parse(start: [u8; POSTGRES_REQUEST]) -> Option<Self> {
        match start {
            SSL_REQUEST => Some(Self::Tls),
            GSSENC_REQUEST => Some(Self::Gssapi),
            [_, _, _, _, code @ ..] if code == CANCEL_CODE => Some(Self::Cancel),
            // A length, and a version of the protocol whose major number is 2 or 3.
            [0, 0, _, _, 0, 2 | 3, _, _] => Some(Self::Startup),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_from_their_first_8_bytes() {
        let message = |length: u32, code: u32| {
            let bytes = [length.to_be_bytes(), code.to_be_bytes()].concat();
            bytes.try_into().unwrap()
        };
        for (start, request) in [
            (message(8, 80_877_103), Some(PostgresRequest::Tls)),
            (message(9, 80_877_103), None),
            (message(8, 80_877_104), Some(PostgresRequest::Gssapi)),
            (message(12, 80_877_104), None),
            (message(16, 80_877_102), Some(PostgresRequest::Cancel)),
            (message(44, 80_877_102), Some(PostgresRequest::Cancel)),
            (message(41, 3 << 16), Some(PostgresRequest::Startup)),
            (message(41, 3 << 16 | 2), Some(PostgresRequest::Startup)),
            (message(41, 4 << 16), None),
            ([0; 8], None),
            (*b"\0ET / HT", None),
        ] {
            assert_eq!(PostgresRequest::parse(start), request, "{start:?}");
        }
    }
}
