//! Answers that their client has to take in time (`mercurio_net::answers`): those of calls that have
//! one. A stream's messages may be taken as slowly as the reader likes; none is made before.

use http::Request;
use mercurio_net::Answers;
use tonic::body::Body;

use super::incoming::Peer;

/// The calls whose answer is a stream.
const STREAMS: [&str; 7] = [
    "/mercurio.v1.NotificationService/Subscribe",
    "/mercurio.v1.RelayService/Relay",
    "/mercurio.v1.SnapshotService/BeginSnapshot",
    "/mercurio.v1.SnapshotService/ReadSnapshot",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Where the answer to a request stands among its connection's; `None`: it is a stream.
pub(super) fn of(request: &Request<Body>) -> Option<Answers<Body>> {
    let peer = request.extensions().get::<Peer>()?;
    let is_stream = STREAMS.contains(&request.uri().path());
    (!is_stream).then(|| peer.answers.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn these_are_the_streams_that_are_served() {
        let mut streams = BTreeSet::new();
        for described in [
            mercurio_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for file in FileDescriptorSet::decode(described).unwrap().file {
                for service in &file.service {
                    let streamed = service.method.iter().filter(|one| one.server_streaming());
                    streams.extend(streamed.map(|method| {
                        let (package, service) = (file.package(), service.name());
                        format!("/{package}.{service}/{}", method.name())
                    }));
                }
            }
        }
        assert_eq!(streams, STREAMS.map(str::to_owned).into());
    }
}
