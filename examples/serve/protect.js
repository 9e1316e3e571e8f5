// For nginx.conf: a resized picture from the resizer, through pca-protect serve. An error is an error: the unprotected picture
// is never sent in place of the protected one.

const SERVER = 'http://127.0.0.1:7861';
const OPTIONS = 'mode=subtle&format=webp';

async function handle(r) {
    const path = r.uri.slice('/photos/'.length);
    const resized = await r.subrequest('/resized/' + path, { args: r.variables.args });
    if (resized.status !== 200) {
        r.return(resized.status === 404 ? 404 : 502);
        return;
    }
    const headers = {};
    if (process.env.PCA_PROTECT_TOKEN) {  // needs `env PCA_PROTECT_TOKEN;` in nginx.conf
        headers['Authorization'] = 'Bearer ' + process.env.PCA_PROTECT_TOKEN;
    }
    const url = SERVER + '/v1/protect?' + OPTIONS;
    const answer = await ngx.fetch(url, { method: 'POST', body: resized.responseBuffer, headers: headers });
    if (answer.status !== 200) {
        const problem = await answer.text();
        r.warn('pca-protect: ' + answer.status + ' ' + problem);
        r.return(503);
        return;
    }
    const picture = await answer.arrayBuffer();
    r.headersOut['Content-Type'] = answer.headers.get('Content-Type');
    r.return(200, Buffer.from(picture));
}

export default { handle };
