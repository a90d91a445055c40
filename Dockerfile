# canary-verify: one static binary and a CA bundle on scratch.
#
# act and older runners use the classic builder, so this file does without
# RUN --mount and $BUILDPLATFORM. BuildKit builds it as well.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src

# For networks that have their own Go module proxy.
ARG GOPROXY

# Modules first: this layer is rebuilt only when go.mod or go.sum changes.
COPY go.mod go.sum ./
RUN go mod download

# Only the sources of the binary: act and runners send the whole checkout with its
# .git, whatever .dockerignore says, so "COPY . ." would rebuild at every run.
COPY secret/ secret/
COPY report/ report/
COPY internal/ internal/
COPY fleet/ fleet/
COPY smoke/ smoke/
COPY ledger/ ledger/
COPY promote/ promote/
COPY gate/ gate/
COPY summary/ summary/
COPY main.go ./
# BuildKit sets TARGETOS and TARGETARCH. The classic builder leaves them empty, and
# Go then builds for the machine it runs on; to cross-compile there, pass
# --build-arg TARGETARCH=arm64.
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION}" -o /canary-verify .

# Actions must run as root: the workspace may belong to any user of the runner.
FROM scratch
ARG VERSION=dev
ARG REVISION
LABEL org.opencontainers.image.title="canary-verify" \
      org.opencontainers.image.description="Proves a staged build on canary tenants, then promotes the tested digests or leaves production alone" \
      org.opencontainers.image.source="https://git.moleculesai.app/molecule-ai/canary-verify" \
      org.opencontainers.image.documentation="https://git.moleculesai.app/molecule-ai/canary-verify/src/branch/main/README.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /canary-verify /canary-verify
ENTRYPOINT ["/canary-verify"]
