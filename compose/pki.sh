#!/bin/sh
# Makes certificates for both sites, once, and gives each gateway's volume what that gateway needs and no more.
# What is there is kept, so that `up` can be run again.
set -eu

made=/pki/authorities/sites
if [ ! -e "$made" ]; then
    # Under another name until it is whole: a run that was cut leaves nothing that looks finished.
    rm -rf "$made.new"
    causeway pki bootstrap --site aws=aws.acme.example --site azure=azure.acme.example --out "$made.new"
    mv "$made.new" "$made"
    rm -rf /pki/aws/* /pki/azure/*
fi

for site in aws azure; do
    # The certificate is copied last: where it is, the rest is.
    if [ ! -e "/pki/$site/gateway.crt" ]; then
        cp -R "$made/$site/bundles" "$made/$site/gateway.key" "/pki/$site/"
        cp "$made/$site/gateway.crt" "/pki/$site/.gateway.crt"
        mv "/pki/$site/.gateway.crt" "/pki/$site/gateway.crt"
        echo "$site: certificates are in place"
    else
        echo "$site: certificates are there already"
    fi
done
