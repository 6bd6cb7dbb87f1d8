#!/bin/sh
# Makes the keys of this folder anew, with OpenSSL 3. They are for tests only: whoever reads the
# repository has them.
set -eu
cd "$(dirname "$0")"

pair() { # NAME, then what `openssl genpkey` takes
    name=$1; shift
    openssl genpkey -quiet "$@" -out "$name.pem"
    openssl pkey -in "$name.pem" -pubout -out "$name.pub.pem"
}

# What is accepted, and a second RSA key for keys that change.
pair rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048
pair rsa-other -algorithm RSA -pkeyopt rsa_keygen_bits:2048
pair p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
pair p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
pair ed25519 -algorithm ED25519
openssl rsa -in rsa.pem -traditional -out rsa.pkcs1.pem 2>/dev/null
openssl rsa -in rsa.pem -RSAPublicKey_out -out rsa.pkcs1.pub.pem 2>/dev/null

# What is refused: too small, other curves, other forms.
pair refused-rsa-1024 -algorithm RSA -pkeyopt rsa_keygen_bits:1024
pair refused-secp256k1 -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1
pair refused-p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521
pair refused-ed448 -algorithm ED448
pair refused-x25519 -algorithm X25519
openssl ecparam -name prime256v1 -genkey -out refused-sec1.pem
openssl pkcs8 -topk8 -passout pass:test -in rsa.pem -out refused-encrypted.pem
openssl rsa -in rsa.pem -traditional -aes128 -passout pass:test -out refused-encrypted-pkcs1.pem 2>/dev/null
openssl req -x509 -key p256.pem -subj /CN=test -days 36500 -out refused-certificate.pem
