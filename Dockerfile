# canary-verify: one static binary and a CA bundle on scratch.
#
# Kept plain for the classic builder, which act and older runners use: no
# RUN --mount, no $BUILDPLATFORM. BuildKit builds it as well.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src

# For networks that reach Go modules through a proxy of their own.
ARG GOPROXY

# Modules first: this layer is built anew only when go.mod or go.sum change.
COPY go.mod go.sum ./
RUN go mod download

# Only what the binary is made of: act and runners hand over the whole checkout
# with its .git, whatever .dockerignore says, and "COPY . ." would build anew at
# every run.
COPY secret/ secret/
COPY internal/ internal/
COPY fleet/ fleet/
COPY smoke/ smoke/
COPY promote/ promote/
COPY gate/ gate/
COPY summary/ summary/
COPY main.go ./
# BuildKit sets TARGETOS and TARGETARCH by itself. The classic builder leaves
# them empty, which Go takes for the machine it runs on; give
# --build-arg TARGETARCH=arm64 to cross-compile there.
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION}" -o /canary-verify .

# Root, as actions must be: the workspace belongs to whom the runner likes.
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
