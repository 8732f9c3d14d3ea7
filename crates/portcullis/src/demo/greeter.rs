//! The demo's gRPC upstream: a greeter with a unary and a streaming call, by tonic.
//!
//! Written out instead of generated, so that building needs no protobuf compiler; in a `.proto` it would be
//!
//! ```proto
//! package demo;
//! message Name { string name = 1; }
//! message Greeting { string text = 1; }
//! service Greeter {
//!   rpc Greet(Name) returns (Greeting);
//!   rpc GreetOften(Name) returns (stream Greeting);
//! }
//! ```
//!
//! Start at [`serve`].

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// How many greetings `GreetOften` sends, and what lies between them.
const GREETINGS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, PartialEq, prost::Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

/// Serves the greeter until the process ends.
pub(super) async fn serve(listener: TcpListener) {
    // Whoever runs the demo sees from the refused calls that it has ended.
    let _ = Server::builder()
        .serve_with_incoming(Greeter, TcpIncoming::from(listener))
        .await;
}

/// The service `demo.Greeter`.
#[derive(Clone, Copy)]
struct Greeter;

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(ProstCodec::<Greeting, Name>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/demo.Greeter/Greet" => grpc.unary(Greet, request).await,
                "/demo.Greeter/GreetOften" => grpc.server_streaming(GreetOften, request).await,
                _ => Status::unimplemented("the greeter has Greet and GreetOften").into_http(),
            })
        })
    }
}

/// `Greet`.
struct Greet;

impl UnaryService<Name> for Greet {
    type Response = Greeting;
    type Future = BoxFuture<Response<Greeting>, Status>;

    fn call(&mut self, request: Request<Name>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(greeting(&request.into_inner(), "Hello"))) })
    }
}

/// `GreetOften`.
struct GreetOften;

impl ServerStreamingService<Name> for GreetOften {
    type Response = Greeting;
    type ResponseStream = tonic::codegen::BoxStream<Greeting>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Name>) -> Self::Future {
        Box::pin(async move {
            let name = request.into_inner();
            let greetings = futures_util::stream::unfold(0, move |sent| {
                let greeting = greeting(&name, "Hello again");
                async move {
                    if sent == GREETINGS {
                        return None;
                    }
                    tokio::time::sleep(PAUSE).await;
                    Some((Ok(greeting), sent + 1))
                }
            });
            Ok(Response::new(Box::pin(greetings) as Self::ResponseStream))
        })
    }
}

fn greeting(name: &Name, word: &str) -> Greeting {
    let name = if name.name.is_empty() {
        "stranger"
    } else {
        &name.name
    };
    Greeting {
        text: format!("{word}, {name}\n"),
    }
}
