//! The lines of `pairs.txt`.

use super::data::{fields, lines_of};

/// A way in which a client calls a server.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The TLS version and the tickets of the server: the last part of its name in a server name.
    pub kind: String,
    /// Whether each call offers the session of the call before it.
    pub resumed: bool,
    /// Whether both sides send a close_notify.
    pub notify: bool,
    /// Whether the server closes first.
    pub server_first: bool,
    /// Whether all clients can do it.
    plain: bool,
}

/// The kinds of servers, in the order of their ports.
pub const KINDS: [&str; 4] = ["13t", "13n", "12t", "12n"];

impl Variant {
    /// The first label of a server name.
    pub fn label(&self) -> String {
        let session = if self.resumed { "resumed" } else { "fresh" };
        let end = if self.notify { "notify" } else { "cut" };
        let first = if self.server_first {
            "server"
        } else {
            "client"
        };
        format!("{session}-{end}-{first}")
    }

    /// The path that tells a server what to do.
    pub fn path(&self) -> &'static str {
        match (self.server_first, self.notify) {
            (false, true) => "/keep",
            (false, false) => "/keep-quiet",
            (true, true) => "/close",
            (true, false) => "/close-quiet",
        }
    }
}

/// A program, and the command that starts it.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in a server name.
    pub name: String,
    /// The second word after it.
    pub how: String,
    /// The word before the command: a server's port, or the set of a client's variants.
    pub about: String,
    /// A command of the shell.
    pub command: String,
}

/// A client that calls a server.
#[derive(Debug, Clone)]
pub struct Pair {
    /// `light`, or the name of a longer run.
    pub tier: String,
    /// The client's name.
    pub client: String,
    /// The server's name.
    pub server: String,
}

/// All of the file.
#[derive(Debug, Default)]
pub struct Pairs {
    /// The ways to call.
    pub variants: Vec<Variant>,
    /// The servers.
    pub servers: Vec<Program>,
    /// The clients.
    pub clients: Vec<Program>,
    /// The pairs of a client and the server that it calls.
    pub pairs: Vec<Pair>,
}

impl Pairs {
    /// The pairs of a tier, with the servers and the clients that they have.
    pub fn of_tier(tier: &str) -> Self {
        let mut all = Self::read();
        let Self {
            servers,
            clients,
            pairs,
            ..
        } = &mut all;
        pairs.retain(|pair| pair.tier == tier);
        assert!(!pairs.is_empty(), "pairs.txt has no tier {tier}");
        servers.retain(|server| pairs.iter().any(|pair| pair.server == server.name));
        clients.retain(|client| pairs.iter().any(|pair| pair.client == client.name));
        all
    }

    /// The file as it is beside this one.
    fn read() -> Self {
        let mut pairs = Self::default();
        for line in lines_of("pairs.txt") {
            let (word, rest) = line.split_once(' ').unwrap();
            match word {
                "variant" => pairs.variants.push(variant(rest)),
                "server" => {
                    let [name, about, how, command] = fields(rest);
                    pairs.servers.push(program(name, how, about, command));
                }
                "client" => {
                    let [name, how, about, command] = fields(rest);
                    pairs.clients.push(program(name, how, about, command));
                }
                "pairs" => pairs.pairs.extend(named_pairs(rest)),
                _ => panic!("pairs.txt: {line}"),
            }
        }
        pairs
    }

    /// The ways in which a client can call.
    pub fn variants_of<'a>(&'a self, client: &'a Program) -> impl Iterator<Item = &'a Variant> {
        let has = |one: &&Variant| match &*client.about {
            "all" => true,
            "plain" => one.plain,
            set => panic!("pairs.txt: client {} {set}", client.name),
        };
        self.variants.iter().filter(has)
    }

    /// The client of that name.
    pub fn client(&self, name: &str) -> &Program {
        let found = self.clients.iter().find(|client| client.name == name);
        found.unwrap_or_else(|| panic!("pairs.txt has no client {name}"))
    }
}

/// The port of a server's kind.
pub fn port(server: &Program, kind: &str) -> u16 {
    let place = KINDS.iter().position(|one| *one == kind).unwrap();
    server.about.parse::<u16>().unwrap() + u16::try_from(place).unwrap() + 1
}

fn program(name: &str, how: &str, about: &str, command: &str) -> Program {
    let [name, how, about, command] = [name, how, about, command].map(str::to_owned);
    Program {
        name,
        how,
        about,
        command,
    }
}

fn variant(text: &str) -> Variant {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, session, end, first, set] = words[..] else {
        panic!("pairs.txt: variant {text}");
    };
    assert!(KINDS.contains(&kind), "pairs.txt: variant {text}");
    Variant {
        kind: kind.to_owned(),
        resumed: session == "resumed",
        notify: end == "notify",
        server_first: first == "server",
        plain: set == "plain",
    }
}

fn named_pairs(text: &str) -> Vec<Pair> {
    let (clients, servers) = text.split_once(':').unwrap();
    let mut clients = clients.split_whitespace();
    let tier = clients.next().unwrap();
    let servers: Vec<&str> = servers.split_whitespace().collect();
    let of_client = |client: &str| -> Vec<Pair> {
        let pair = |server: &&str| Pair {
            tier: tier.to_owned(),
            client: client.to_owned(),
            server: (*server).to_owned(),
        };
        servers.iter().map(pair).collect()
    };
    clients.flat_map(of_client).collect()
}
