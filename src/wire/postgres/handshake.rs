//! Everything before the first statement: towards the client ([`first`], [`bearer`]), and towards the database ([`login`], with
//! [`scram`]).

mod bearer;
mod first;
mod login;
mod scram;

pub use bearer::{Bearer, SignInAt, ask_bearer, bearer, notes, tell_where};
pub use first::{
    FirstPacket, MAX_FIRST_PACKET, MINOR, Startup, cancel_request, first_packet, password, password_message,
    ssl_request,
};
pub use login::{Channel, Credentials, Greeting, Login, LoginError, Progress, Proof};
pub use scram::{Keys, Recipe};
